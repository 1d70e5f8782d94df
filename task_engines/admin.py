"""Jobs of the engines stay out of the console: they are triggers, and what they did stands in the ledger."""

from django.apps import apps
from django.contrib import admin

for app in apps.get_app_configs():
    if app.name in ("django_tasks_db", "procrastinate.contrib.django"):
        for model in app.get_models():
            if admin.site.is_registered(model):
                admin.site.unregister(model)

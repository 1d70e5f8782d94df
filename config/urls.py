from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from relay.admin.script_texts import ScriptTexts

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("admin/jsi18n/", ScriptTexts.as_view()),
    path("admin/", admin.site.urls),
]

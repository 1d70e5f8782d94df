from django.apps import AppConfig


class TaskEnginesConfig(AppConfig):
    name = "task_engines"

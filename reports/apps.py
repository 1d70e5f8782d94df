from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from task_engines import ticking


class ReportsConfig(AppConfig):
    name = "reports"
    verbose_name = _("Reports")

    def ready(self) -> None:
        ticking.register("reports.tasks.tick")

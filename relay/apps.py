from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from task_engines import ticking


class RelayConfig(AppConfig):
    name = "relay"
    verbose_name = _("Mailing")

    def ready(self) -> None:
        from relay import checks, groups, logins  # noqa: F401  (checks registers the system checks)

        logins.connect()
        groups.connect()
        ticking.register("relay.tasks.tick")

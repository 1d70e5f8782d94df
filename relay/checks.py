"""System checks: what an installation needs before it can send, said with the remedy."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning


@register(Tags.security, deploy=True)
def relay_credentials(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    missing = [name for name in ("DOPPLER_RELAY_API_KEY", "DOPPLER_RELAY_ACCOUNT_ID") if not getattr(settings, name)]
    if not missing:
        return []
    return [
        Error(
            f"Nothing can be sent: {' and '.join(missing)} not set.",
            hint="Set them in .env (Doppler Relay, Settings, Connection settings).",
            id="relay.E001",
        )
    ]


@register(Tags.security, deploy=True)
def http_without_tls(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if not settings.INSECURE_HTTP:
        return []
    return [
        CheckWarning(
            "INSECURE_HTTP=1: passwords and recipients travel in the clear.",
            hint="Give the server a certificate and remove INSECURE_HTTP.",
            id="relay.W001",
        )
    ]


@register(Tags.security, deploy=True)
def verbose_logs(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.LOG_LEVEL != "DEBUG":
        return []
    return [
        CheckWarning(
            "LOG_LEVEL=DEBUG: libraries may log addresses and SQL parameters.",
            hint="Use INFO in production.",
            id="relay.W002",
        )
    ]

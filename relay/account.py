"""The relay account of this installation, as a client."""

from django.conf import settings
from django.utils.translation import gettext as _

from relay.explained import Explained
from relay_client import RelayClient


class NotConfigured(Explained):
    """The environment names no key or no account; the text says which variable to set."""


# A page of the relay's log may take longer than any call that RELAY_TIMEOUT_SECONDS is set for.
READING_SECONDS = 30.0
CONNECT_SECONDS = 10.0


def open_relay(
    *, max_connections: int | None = None, reading: bool = False, timeout_seconds: float | None = None
) -> RelayClient:
    """A client with the credentials of the environment; to be used as an async context manager.

    `timeout_seconds` is that of a call, and the most that its connection takes, where RELAY_TIMEOUT_SECONDS is not
    meant for it.
    """
    for name in ("DOPPLER_RELAY_API_KEY", "DOPPLER_RELAY_ACCOUNT_ID"):
        if not getattr(settings, name):
            raise NotConfigured(_("%(name)s is not set: nothing can be asked of the relay.") % {"name": name})
    return RelayClient(
        api_key=settings.DOPPLER_RELAY_API_KEY,
        account=settings.DOPPLER_RELAY_ACCOUNT_ID,
        base_url=settings.DOPPLER_RELAY_BASE_URL,
        auth_scheme=settings.DOPPLER_RELAY_AUTH_SCHEME,
        connect_timeout_seconds=min(CONNECT_SECONDS, timeout_seconds or CONNECT_SECONDS),
        timeout_seconds=timeout_seconds or max(settings.RELAY_TIMEOUT_SECONDS, READING_SECONDS if reading else 0.0),
        max_connections=max_connections or settings.RELAY_MAX_CONNECTIONS,
    )

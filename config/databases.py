"""How we connect to PostgreSQL, whichever database it is."""

from typing import Any


def postgresql(**place: Any) -> dict[str, Any]:
    """Django's settings for the database at `place` (HOST, PORT, NAME, USER, PASSWORD)."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        **place,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "connect_timeout": 10,
            # Of the ledger's own statements. (A pooler between must know prepared statements: PgBouncer ≥ 1.21.)
            "prepare_threshold": 5,
            # A session that dies inside a transaction must not hold rows for ever.
            "options": "-c idle_in_transaction_session_timeout=300000",
            # A database that vanished from the network is noticed within half a minute, not in hours.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    }

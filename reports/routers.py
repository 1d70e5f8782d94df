"""Which tables live where: what people query, in every database that reports are loaded into; the rest in `default`."""

from typing import Any

from django.db.models import Model

ANALYTICS = "analytics"
# What a database needs in order to be loaded into. (Which of several databases: each query says so itself.)
LOADED = {"delivery", "dailytotal", "reportload", "confirmation"}


class AnalyticsRouter:
    def allow_migrate(self, db: str, app_label: str, model_name: str | None = None, **hints: Any) -> bool | None:
        """`migrate --database analytics` makes only the tables and views that people query there."""
        if db != ANALYTICS:
            return None
        return app_label == "reports" and (model_name in LOADED or bool(hints.get("loaded")))

    def allow_relation(self, one: Model, other: Model, **hints: Any) -> bool | None:
        return None

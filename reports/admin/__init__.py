"""The console of reports. What changes something is a POST; what takes long is queued, and pages show how far it is."""

from reports.admin import (  # noqa: F401  (each registers what it shows)
    dashboard,
    deliveries,
    generated_reports,
    recipients,
)

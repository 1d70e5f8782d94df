"""The console of reports. What changes something is a POST; what takes long is queued, and pages show how far it is."""

from reports.admin import dashboard, deliveries, generated_reports  # noqa: F401  (each registers what it has)

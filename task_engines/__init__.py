"""Background engines behind `django.tasks`: django-tasks-db embedded, procrastinate on PostgreSQL for many hosts.

Nothing here knows what the jobs do. A job may run twice (a worker died in the middle of it), so whatever it does must
bear that: the ledger does.
"""

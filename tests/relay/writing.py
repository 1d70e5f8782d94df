"""Writing to the tables by every path there is. `changes` are column values; the lease is named by its id."""

import pytest
from django.db import IntegrityError, connection, transaction

from relay.models import (
    Recipient,
)


def by_save(instance, changes):
    for name, value in changes.items():
        setattr(instance, name, value)
    instance.save()


def by_queryset(instance, changes):
    type(instance).objects.filter(pk=instance.pk).update(**changes)


def by_bulk_update(instance, changes):
    for name, value in changes.items():
        setattr(instance, name, value)
    type(instance).objects.bulk_update([instance], ["lease" if name == "lease_id" else name for name in changes])


def by_sql(instance, changes):
    table = type(instance)._meta.db_table
    marks = ", ".join(f'"{name}" = %s' for name in changes)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {marks} WHERE id = %s", [*changes.values(), instance.pk])


UPDATES = [by_save, by_queryset, by_bulk_update, by_sql]


def insert_by_save(recipient):
    recipient.save()


def insert_by_bulk_create(recipient):
    Recipient.objects.bulk_create([recipient])


def insert_by_sql(recipient):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO relay_recipient (bulk_send_id, row, email, variables, state, reason, message_id, attempts,"
            " accepted_at, lease_id, sending_since) VALUES (%s, %s, %s, '{}', %s, %s, %s, %s, %s, %s, %s)",
            [
                recipient.bulk_send_id,
                recipient.row,
                recipient.email,
                recipient.state,
                recipient.reason,
                recipient.message_id,
                recipient.attempts,
                recipient.accepted_at,
                recipient.lease_id,
                recipient.sending_since,
            ],
        )


INSERTS = [insert_by_save, insert_by_bulk_create, insert_by_sql]


def refused(write, *arguments, because: str = "") -> None:
    """The write fails in the database, for that reason (the name of the rule stands in both databases' words)."""
    with pytest.raises(IntegrityError, match=because), transaction.atomic():
        write(*arguments)


def called(case) -> str:
    return case.__name__ if callable(case) else "+".join(case) if isinstance(case, dict) else str(case)

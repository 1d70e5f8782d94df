"""A console with something of everything: bulk sends in every status, recipients in every state, reports, lists,
people; and hostile texts wherever somebody can write one.

What commands can make is made by commands; the rest by `python -m tests.browser.world`, a process of its own, since it
writes rows of the models as the guards of the ledger allow.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from tests.browser.hostile import FORMULAS, HOSTILE, SCRIPT
from tests.installation import ROOT, Installation

SENDER = "cobranzas@example.com"


@dataclass(frozen=True, slots=True)
class World:
    console: str
    installation: Installation
    # Of each model of the console (`relay.bulksend`), keys of some objects.
    objects: dict[str, list[str]]
    # Of each person, a session that has begun.
    sessions: dict[str, str]


def rich_world(installation: Installation, template: str) -> dict[str, Any]:
    """What is known of it: the fields of `World` that only its own process can tell."""
    _through_commands(installation, template)
    told = subprocess.run(
        [sys.executable, "-m", "tests.browser.world"],
        cwd=ROOT,
        env={**installation.environment, "DJANGO_SETTINGS_MODULE": "config.settings"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return dict(json.loads(told.stdout))


def _through_commands(installation: Installation, template: str) -> None:
    installation.json("sender", "add", SENDER, "--name", HOSTILE)
    attachment = installation.folder / "estado <b>de cuenta.pdf"
    attachment.write_bytes(b"%PDF-1.4 de prueba")
    hostile = [
        (HOSTILE, "ana@example.com", SCRIPT, "10,50", "2026-12-15"),
        (FORMULAS[0], "luis@example.com", FORMULAS[3], "11", "2026-12-15"),
        (SCRIPT, "<script>@example.com", HOSTILE, "12", "2026-12-15"),
        ("Eva", "ana@example.com", "1", "13", "2026-12-15"),
        ("", "eva@example.com", "1", "13", "2026-12-15"),
    ]
    file = installation.write_file(hostile, "lista <img src=x onerror=__executed=1>.csv")
    order = ("--name", HOSTILE, "--sender", SENDER, "--attach", str(attachment))
    sent = installation.create(template, file, *order, "--subject", "{{nombre}} " + SCRIPT)
    installation.json("bulk", "start", str(sent), "--accept-rejects", "--drain")
    installation.create(template, file, "--name", f"Borrador {HOSTILE}", "--sender", SENDER)


# --- in a process of its own -------------------------------------------------------------------------------------


def main() -> None:
    import django

    django.setup()
    from django.contrib import admin

    people = fill()
    objects = {model._meta.label_lower: _some(model) for model in admin.site._registry}
    print(json.dumps({"objects": objects, "sessions": {name: _session(user) for name, user in people.items()}}))


def fill() -> dict[str, Any]:
    """Rows of everything; the people among them."""
    people = _people()
    _bulk_sends(people["lucia"])
    _lists(people["lucia"])
    _reports(people["lucia"])
    _templates_drafts_and_record(people["lucia"])
    return people


def _some(model: Any) -> list[str]:
    """Keys of some objects: the first two, and the last of each state that the model knows."""
    everything = model._default_manager.order_by("pk")
    keys = list(everything.values_list("pk", flat=True)[:2])
    for field in ("status", "state"):
        if field in {it.name for it in model._meta.get_fields()}:
            for value in everything.order_by(field).values_list(field, flat=True).distinct():
                keys += everything.filter(**{field: value}).order_by("-pk").values_list("pk", flat=True)[:1]
    return [str(pk) for pk in dict.fromkeys(keys)]


def _people() -> dict[str, Any]:
    """Lucía, who may do everything; one person of each group; one of none."""
    from django.contrib.auth.models import Group, User

    people = {
        "lucia": User.objects.create_superuser(
            "lucia-hostil", "lucia@example.com", first_name=HOSTILE[:150], last_name=SCRIPT[:150]
        )
    }
    for group in Group.objects.all():
        people[group.name] = User.objects.create_user(f"de-{group.pk}", is_staff=True)
        people[group.name].groups.add(group)
    people["nadie"] = User.objects.create_user("nadie", is_staff=True)
    Group.objects.create(name=HOSTILE)
    return people


def _session(user: Any) -> str:
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


def _bulk_sends(lucia: Any) -> None:
    from django.utils import timezone

    from relay import decisions
    from relay.decisions import Actor
    from relay.models import Attempt, BulkSend, Recipient, SendingWindow, Settlement
    from tests.relay.admin_rows import State, Status, bulk_send, draft, in_every_state, recipient

    hostile = {
        "template_name": HOSTILE,
        "template_subject": "{{nombre}} " + SCRIPT,
        "template_html": f"<p>{{{{nombre}}}}</p>{SCRIPT}",
        "subject": SCRIPT,
        "from_email": SENDER,
        "from_name": HOSTILE,
        "file_name": f"{HOSTILE}.csv",
        "address_column": HOSTILE,
        "columns": [HOSTILE, "nombre", SCRIPT],
        "variable_map": {"nombre": HOSTILE},
        "created_by": lucia,
    }
    window = SendingWindow.objects.create(name=f"Oficina {HOSTILE}"[:100], opens=time(8), closes=time(20))
    by_status = {}
    for status in Status.values:
        make = draft if status == Status.DRAFT else lambda status=status, **fields: bulk_send(status, **fields)
        by_status[status] = make(**{**hostile, "name": f"Cuotas {HOSTILE}"})
    by_status[Status.PENDING].scheduled_at = timezone.now() + timedelta(days=1)
    by_status[Status.PENDING].scheduled_by = lucia
    by_status[Status.PENDING].save()
    BulkSend.objects.filter(pk=by_status[Status.SENDING].pk).update(processing_started_at=timezone.now())

    actor = Actor(f"lucia {HOSTILE}", lucia)
    decisions.change_rate(by_status[Status.PAUSED], actor, 5)
    decisions.change_window(by_status[Status.PAUSED], actor, window)
    variables = {"nombre": SCRIPT, HOSTILE: HOSTILE, "formula": FORMULAS[0], "vacio": ""}
    for sent in by_status.values():
        if sent.status == Status.DRAFT:
            continue
        rows = (
            in_every_state(sent)
            if sent.status in {Status.SENDING, Status.ERROR}
            else [recipient(sent, 2, State.ACCEPTED), recipient(sent, 3, State.REFUSED)]
        )
        Recipient.objects.filter(pk__in=[row.pk for row in rows]).update(variables=variables)
        BulkSend.objects.filter(pk=sent.pk).update(total=len(rows))
        for row in rows:
            if row.state == State.UNKNOWN:
                Settlement.objects.create(
                    recipient=row,
                    attempt=Attempt.objects.get(recipient=row),
                    look=1,
                    verdict="unknown",
                    reason="not_yet",
                    reason_params={"seconds": 60, "lag": 60, "entries": 0, "minutes": 1, "looks": 1},
                )


def _lists(lucia: Any) -> None:
    from relay.models import Attachment, Sender, Suppression

    Sender.objects.create(email="avisos@example.com", name=SCRIPT[:100], active=False)
    Suppression.objects.create(email="baja@example.com", reason=HOSTILE, created_by=lucia)
    Attachment.objects.create(filename=f"{HOSTILE}.html", content_type=HOSTILE, size=9, sha256="0" * 64, file="files/x")


def _reports(lucia: Any) -> None:
    from django.conf import settings
    from django.utils import timezone

    from reports.models import Delivery
    from tests.reports.report_rows import Loading, State, load, report, with_file

    for state in (State.PENDING, State.PROCESSING, State.ERROR):
        report(state, requested_by=lucia)
    report(State.READY)
    root = Path(settings.ATTACHMENTS_ROOT)
    for number, state in enumerate(Loading.values):
        of = with_file(root, f"reports/entregas-{number}.csv", request_id=f"{number} {HOSTILE}", requested_by=lucia)
        load(of, state)
    with_file(root, "reports/entregas-9.csv")
    now = timezone.now()
    Delivery.objects.bulk_create(
        Delivery(
            key=bytes([number] * 16),
            sent_at=datetime(2026, 11, 20, 12, number, tzinfo=UTC),
            local_day=now.date(),
            sender=HOSTILE,
            sender_name=SCRIPT,
            recipient=HOSTILE,
            subject=SCRIPT,
            status=status,
            extra={HOSTILE: SCRIPT},
            as_of=now,
        )
        for number, status in enumerate([*Delivery.Status.values, HOSTILE])
    )


def _templates_drafts_and_record(lucia: Any) -> None:
    from django.utils import timezone

    from relay.models import Activity, MailTemplate, Preparation
    from tests.relay.admin_rows import bulk_send

    whole = {"name": HOSTILE, "subject": "{{nombre}} " + SCRIPT, "from_email": SENDER, "from_name": HOSTILE}
    html = f"<p>Estimado {{{{nombre}}}}</p>{SCRIPT}{HOSTILE}"
    for number, more in enumerate(
        (
            {},
            {"made_visually": True},
            {"saved": "half", "wanted": {**whole, "html": html}},
            {"gone_at": timezone.now()},
            {"has_mistake": True, "html": "{{#nombre}}"},
        )
    ):
        MailTemplate.objects.create(
            **{**whole, "html": html, "variables": ["nombre", HOSTILE], "template_id": f"plantilla-{number}"} | more,
            fetched_at=timezone.now(),
        )
    bulk_send(
        "done",
        template_id="plantilla-0",
        template_html=f"<p>Hola</p>{HOSTILE}",
        name="Con otra versión",
        processing_started_at=timezone.now(),
    )
    for checking, more in (("idle", {}), ("waiting", {}), ("failed", {"problem": HOSTILE}), ("checked", {})):
        Preparation.objects.create(
            name=HOSTILE,
            template_id="plantilla-0",
            template_name=HOSTILE,
            subject=SCRIPT,
            file_name=f"{HOSTILE}.csv",
            address_column=HOSTILE,
            created_by=lucia,
            checking=checking,
            **more,
        )
    for what in Activity.What.values:
        Activity.objects.create(
            by=HOSTILE, by_id=lucia.pk, what=what, about_kind="bulksend", about_id="1", about_label=HOSTILE
        )


if __name__ == "__main__":
    main()

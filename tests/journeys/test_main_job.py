"""From a recipients file to accepted mail, as an operator does it: through the commands."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.installation import Installation, people, states
from tests.sandbox import Sandbox


def test_a_file_becomes_one_accepted_message_per_recipient(installation: Installation, sandbox: Sandbox) -> None:
    file = installation.write_file(people(300))
    created = installation.json("bulk", "create", "--template", sandbox.template, "--recipients", str(file))
    assert created["status"] == "pending"
    assert (created["total"], created["valid"], created["excluded"]) == (300, 300, 0)
    assert sandbox.stats()["calls"] == 0

    status = installation.json("bulk", "start", str(created["id"]), "--drain")

    assert status["status"] == "done"
    assert (status["accepted"], status["pending"], status["unknown"]) == (300, 0, 0)
    results = installation.results(created["id"])
    assert [int(row["row"]) for row in results] == list(range(2, 302))
    assert {row["message_id"]: row["email"] for row in results} == sandbox.accepted_ids()
    assert all(row["delivery"].startswith("/accounts/") and row["attempts"] == "1" for row in results)


def test_what_leaves_is_the_row(installation: Installation, sandbox: Sandbox) -> None:
    file = installation.write_file([("Ana Ñandú", "Ana.Perez@EXAMPLE.com", "0012345678", "1.234,50", "2026-12-15")])
    bulk_send = installation.create(sandbox.template, file)
    installation.json("bulk", "start", str(bulk_send), "--drain")
    (message,) = sandbox.messages()
    assert message["model"] == {
        "nombre": "Ana Ñandú",
        "cedula": "0012345678",
        "monto": "1.234,50",
        "vence": "2026-12-15",
    }
    assert message["recipients"] == ["Ana.Perez@example.com"]


def test_rejected_rows_keep_it_a_draft_until_somebody_accepts_them(
    installation: Installation, sandbox: Sandbox
) -> None:
    file = installation.write_file(
        [
            *people(3),
            ("Sin arroba", "sin arroba", "1", "1", "1"),
            ("Otra vez", "PERSONA1@example.com", "1", "1", "1"),
            ("", "sola@example.com", "1", "1", "1"),
        ]
    )
    created = installation.json("bulk", "create", "--template", sandbox.template, "--recipients", str(file))
    assert created["status"] == "draft"
    assert created["excluded_by_reason"] == {"invalid_address": 1, "missing_variable": 1, "duplicate": 1}
    assert created["total"] == created["valid"] + created["excluded"] == 6
    rejects = Path(created["rejects_file"]).read_text("utf-8").splitlines()
    assert [line.split(";")[1] for line in rejects[1:]] == ["sin arroba", "PERSONA1@example.com", "sola@example.com"]
    assert rejects[0].endswith(";motivo")
    assert "3" in rejects[2].split(";")[-1]  # the row that it repeats

    assert "--accept-rejects" in installation.refusal("bulk", "start", str(created["id"]))
    status = installation.json("bulk", "start", str(created["id"]), "--accept-rejects", "--drain")
    assert (status["status"], status["accepted"], status["excluded"]) == ("done", 3, 3)
    assert sum(sandbox.accepted().values()) == 3


def test_two_debts_of_one_person_are_two_messages_when_allowed(installation: Installation, sandbox: Sandbox) -> None:
    twice = ("Ana", "ana@example.com", "1", "10", "2026-12-15")
    file = installation.write_file([twice, ("Ana", "ana@example.com", "1", "20", "2026-12-15"), twice])
    created = installation.json(
        "bulk", "create", "--template", sandbox.template, "--recipients", str(file), "--allow-repeats"
    )
    assert (created["valid"], created["excluded_by_reason"]) == (2, {"duplicate": 1})


def test_sender_subject_reply_to_and_attachments_reach_the_relay(installation: Installation, sandbox: Sandbox) -> None:
    installation.json("sender", "add", "cobranzas@example.com", "--name", "Cobranzas")
    attachment = installation.folder / "aviso.pdf"
    attachment.write_bytes(b"%PDF-1.4 aviso")
    file = installation.write_file([("Ana & Luis", "ana@example.com", "1", "10", "2026-12-15")])
    bulk_send = installation.create(
        sandbox.template,
        file,
        *("--sender", "cobranzas@example.com", "--subject", "Aviso para {{nombre}}"),
        *("--reply-to", "ayuda@example.com", "--attach", str(attachment)),
    )
    installation.json("bulk", "start", str(bulk_send), "--drain")
    (message,) = sandbox.messages()
    assert message["subject"] == "Aviso para Ana & Luis"
    assert "cobranzas@example.com" in str(message["from"])
    assert "ayuda@example.com" in str(message["reply_to"])
    assert message["attachments"][0]["sha256"] == hashlib.sha256(b"%PDF-1.4 aviso").hexdigest()


def test_attachments_go_with_template_messages_too(installation: Installation, sandbox: Sandbox) -> None:
    attachment = installation.folder / "datos.zip"
    content = base64.b64decode("UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==")
    attachment.write_bytes(content)
    bulk_send = installation.create(sandbox.template, installation.write_file(people(30)), "--attach", str(attachment))
    installation.json("bulk", "start", str(bulk_send), "--drain")
    messages = sandbox.messages()
    assert len(messages) == 30
    assert {message["attachments"][0]["sha256"] for message in messages} == {hashlib.sha256(content).hexdigest()}


def test_a_scheduled_send_leaves_at_its_hour_and_not_before(installation: Installation, sandbox: Sandbox) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=8)
    file = installation.write_file(people(20))
    bulk_send = installation.create(sandbox.template, file, "--schedule-at", soon.isoformat())
    early = installation.json("process_bulk_scheduled")
    assert early == {"started": 0, "accepted": 0, "refused": 0, "unknown": 0}
    assert sandbox.stats()["calls"] == 0
    while datetime.now(UTC) < soon:
        pass
    assert installation.json("process_bulk_scheduled")["accepted"] == 20
    assert installation.json("bulk", "status", str(bulk_send))["status"] == "done"


def test_start_without_drain_leaves_it_to_the_timer(installation: Installation, sandbox: Sandbox) -> None:
    bulk_send = installation.create(sandbox.template, installation.write_file(people(20)))
    assert installation.json("bulk", "start", str(bulk_send))["status"] == "sending"
    assert sandbox.stats()["calls"] == 0
    assert installation.json("process_bulk_scheduled")["accepted"] == 20


def test_timers_that_overlap_send_everything_once(installation: Installation, sandbox: Sandbox) -> None:
    sandbox.faults(latency_ms=20)
    bulk_send = installation.create(sandbox.template, installation.write_file(people(1500)))
    installation.json("bulk", "start", str(bulk_send))
    timers = [installation.start("process_bulk_scheduled", "--json") for _ in range(3)]
    for timer in timers:
        _, errors = timer.communicate(timeout=120)
        assert timer.returncode == 0, errors
    assert states(installation.results(bulk_send)) == {"accepted": 1500}
    assert set(sandbox.accepted().values()) == {1}
    assert len(sandbox.calls()) == 1500
    assert installation.json("bulk", "status", str(bulk_send))["status"] == "done"


def test_pause_resume_and_cancel(installation: Installation, sandbox: Sandbox) -> None:
    sandbox.faults(latency_ms=400)
    bulk_send = installation.create(sandbox.template, installation.write_file(people(2000)))
    sender = installation.start("bulk", "start", str(bulk_send), "--drain", "--json")
    installation.wait_until(bulk_send, "accepted", 50)
    paused = installation.json("bulk", "pause", str(bulk_send))
    assert (paused["status"], paused["reason_code"]) == ("paused", "person")
    sender.communicate(timeout=60)
    assert sender.returncode == 0
    calls = sandbox.stats()["calls"]
    assert installation.json("process_bulk_scheduled")["accepted"] == 0  # nobody lifts a person's pause
    status = installation.json("bulk", "status", str(bulk_send))
    assert sandbox.stats()["calls"] == calls == status["accepted"]
    assert status["sending"] == 0

    assert installation.json("bulk", "resume", str(bulk_send))["status"] == "sending"
    sender = installation.start("process_bulk_scheduled", "--json")
    installation.wait_until(bulk_send, "accepted", calls + 50)
    assert installation.json("bulk", "cancel", str(bulk_send))["status"] == "cancelled"
    sender.communicate(timeout=60)
    status = installation.json("bulk", "status", str(bulk_send))
    assert status["pending"] == status["sending"] == status["unknown"] == 0
    assert status["accepted"] + status["excluded"] == 2000
    assert status["accepted"] == len(sandbox.calls())


def test_the_switch_of_the_timer_is_obeyed(installation: Installation, sandbox: Sandbox) -> None:
    bulk_send = installation.create(sandbox.template, installation.write_file(people(3)))
    installation.json("bulk", "start", str(bulk_send))
    off = installation.run("process_bulk_scheduled", "--json", BULK_SCHEDULER_ENABLED="False")
    assert (off.code, off.json["accepted"]) == (0, 0)
    assert "BULK_SCHEDULER_ENABLED" in off.errors
    forced = installation.json("process_bulk_scheduled", "--force", BULK_SCHEDULER_ENABLED="False")
    assert forced["accepted"] == 3


def test_senders_are_added_listed_and_disabled(installation: Installation, sandbox: Sandbox) -> None:
    added = installation.json("sender", "add", "Avisos@EXAMPLE.com", "--name", "Avisos")
    assert added == {"email": "Avisos@example.com", "name": "Avisos", "active": True, "window": None}
    assert installation.json("sender", "list")["senders"] == [added]
    assert installation.json("sender", "disable", "avisos@example.com")["active"] is False
    file = installation.write_file(people(1))
    assert "avisos@example.com" in installation.refusal(
        *("bulk", "create", "--template", sandbox.template, "--recipients", str(file)),
        *("--sender", "avisos@example.com"),
    )


def test_a_suppressed_address_is_not_written_to(installation: Installation, sandbox: Sandbox) -> None:
    code = (
        "from relay.models import Suppression as S; S.objects.create(email='persona1@example.com', reason='pidió baja')"
    )
    assert installation.run("shell", "-c", code).code == 0
    created = installation.json(
        "bulk", "create", "--template", sandbox.template, "--recipients", str(installation.write_file(people(3)))
    )
    assert created["excluded_by_reason"] == {"suppressed": 1}


def test_wrong_usage_exits_2(installation: Installation, sandbox: Sandbox) -> None:
    assert installation.run("bulk", "create", "--json").code == 2
    assert installation.run("bulk", "start", "abc").code == 2
    assert installation.run("bulk", "create", "--template", "x", "--recipients", "y", "--map", "no").code == 2


def test_a_send_that_cannot_go_on_keeps_no_other_waiting(installation: Installation, sandbox: Sandbox) -> None:
    attachment = installation.folder / "aviso.pdf"
    attachment.write_bytes(b"%PDF-1.4 aviso")
    file = installation.write_file(people(3))
    broken = installation.create(sandbox.template, file, "--attach", str(attachment))
    whole = installation.create(sandbox.template, file)
    for bulk_send in (broken, whole):
        installation.json("bulk", "start", str(bulk_send))
    (kept,) = (installation.folder / "attachments" / "files").rglob("*.pdf")
    kept.unlink()
    assert installation.json("process_bulk_scheduled")["accepted"] == 3
    assert installation.json("bulk", "status", str(whole))["status"] == "done"
    status = installation.json("bulk", "status", str(broken))
    assert (status["status"], status["reason_code"], status["pending"]) == ("error", "attachment_missing", 3)
    kept.write_bytes(b"%PDF-1.4 aviso")
    installation.json("bulk", "resume", str(broken))
    assert installation.json("process_bulk_scheduled")["accepted"] == 3


def test_accepting_the_rejects_of_a_scheduled_draft_does_not_send_it_early(
    installation: Installation, sandbox: Sandbox
) -> None:
    file = installation.write_file([*people(2), ("Sin arroba", "sin arroba", "1", "1", "1")])
    bulk_send = installation.create(sandbox.template, file, "--schedule-at", "2090-01-01T09:00")
    status = installation.json("bulk", "start", str(bulk_send), "--accept-rejects", "--drain")
    assert status["status"] == "pending"
    assert sandbox.stats()["calls"] == 0
    # A second decision is one to send now.
    assert installation.json("bulk", "start", str(bulk_send), "--drain")["accepted"] == 2


def test_results_replace_files_only(installation: Installation, sandbox: Sandbox) -> None:
    bulk_send = str(installation.create(sandbox.template, installation.write_file(people(2))))
    for target in ("/dev/null", str(installation.folder), "/"):
        installation.refusal("bulk", "results", bulk_send, "--output", target)
    assert Path("/dev/null").is_char_device()
    real, link = installation.folder / "real.csv", installation.folder / "link.csv"
    link.symlink_to(real)
    assert installation.json("bulk", "results", bulk_send, "--output", str(link))["rows"] == 2
    assert link.is_symlink()
    assert real.read_text("utf-8").startswith("row,email,state")

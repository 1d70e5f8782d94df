"""What cannot be done is said in one sentence that names the place, and leaves nothing behind."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.installation import Installation, people
from tests.sandbox import Sandbox

HEADER = "nombre;correo;cedula;monto;vence\n"
ROW = "Ana;ana@example.com;1;10;2026-12-15\n"

# content of the file, and what its sentence must name
BAD_FILES = {
    "empty": (b"", ["recipients.csv"]),
    "header only": (HEADER.encode(), ["recipients.csv"]),
    "no address column": (b"nombre;edad\nAna;30\n", ["nombre", "edad", "--email-column"]),
    "two address columns": (b"correo;email\na@example.com;b@example.com\n", ["correo", "email", "--email-column"]),
    "binary": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, ["recipients.csv"]),
    "damaged UTF-8": ((HEADER + "Peña;a@example.com;1;1;1\n").encode() + b"Mu\xc3;b@example.com;1;1;1\n", ["3"]),
    "a 10 MB cell": ((HEADER + ROW).encode() + b'"' + b"x" * 10_000_000 + b'";b@example.com;1;1;1\n', ["3", "1"]),
    "5,000 columns": (";".join(["correo", *(f"c{n}" for n in range(4999))]).encode() + b"\n" + b";" * 4999, ["1,000"]),
    "colliding headers": (b"correo;nombre;nombre\na@example.com;1;2\n", ["nombre"]),
    "an empty header": (b"correo;;nombre\na@example.com;1;2\n", ["B"]),
    "a needed column missing": (b"correo;nombre\na@example.com;Ana\n", ["cedula", "monto", "vence", "--map"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_whole(installation: Installation, sandbox: Sandbox, case: str) -> None:
    content, named = BAD_FILES[case]
    path = installation.folder / "recipients.csv"
    path.write_bytes(content)
    sentence = installation.refusal("bulk", "create", "--template", sandbox.template, "--recipients", str(path))
    for words in named:
        assert words in sentence or words.replace(",", ".") in sentence or words.replace(",", "") in sentence, sentence
    assert "xxx" not in sentence
    assert "1" in installation.refusal("bulk", "status", "1")  # nothing was stored
    assert sandbox.stats()["calls"] == 0


def test_damaged_rows_are_excluded_and_the_others_sent(installation: Installation, sandbox: Sandbox) -> None:
    path = installation.folder / "recipients.csv"
    path.write_bytes(
        HEADER.encode()
        + b"Ana;ana@example.com;1;10;2026-12-15\n"
        + b"Corta;corta@example.com;1\n"
        + b"Larga;larga@example.com;1;10;2026-12-15;de mas\n"
        + b"Nula;nu\0la@example.com;1;10;2026-12-15\n"
        + b"\n"
        + b"Luis;luis@example.com;1;10;2026-12-15\n"
    )
    created = installation.json(
        "bulk", "create", "--template", sandbox.template, "--recipients", str(path), "--accept-rejects"
    )
    assert created["excluded_by_reason"] == {"ragged_row": 2, "nul_byte": 1}
    status = installation.json("bulk", "start", str(created["id"]), "--drain")
    assert (status["accepted"], status["excluded"], status["total"]) == (2, 3, 5)
    assert [row["row"] for row in installation.results(created["id"])] == ["2", "3", "4", "5", "7"]


ORDERS = {
    "a template that does not exist": (["--template", "00000000-0000-0000-0000-000000000000"], ["00000000-0000"]),
    "a sender that is not allowed": (["--sender", "otro@example.com"], ["otro@example.com", "sender add"]),
    "a schedule in the past": (["--schedule-at", "2020-01-01T09:00"], ["2020-01-01 09:00"]),
    "an attachment that is not there": (["--attach", "no-such-file.pdf"], ["no-such-file.pdf"]),
    "a column that is not there": (["--map", "nombre=apellido"], ["apellido"]),
    "a variable inside a column": (["--map", "nombre.corto=nombre"], ["«nombre»", "«nombre.corto»"]),
    "a reply address that is none": (["--reply-to", "nadie"], ["--reply-to"]),
    "a broken subject": (["--subject", "Hola {{nombre", "--sender", ""], []),
}


@pytest.mark.parametrize("case", ORDERS)
def test_an_order_that_cannot_be_carried_out_is_refused(
    installation: Installation, sandbox: Sandbox, case: str
) -> None:
    arguments, named = ORDERS[case]
    file = installation.write_file(people(2))
    template = [] if "--template" in arguments else ["--template", sandbox.template]
    sentence = installation.refusal("bulk", "create", "--recipients", str(file), *template, *arguments)
    for words in named:
        assert words in sentence, sentence
    installation.refusal("bulk", "status", "1")


def test_a_template_without_content_is_refused(installation: Installation, sandbox: Sandbox) -> None:
    empty = sandbox.template_ids[3]
    file = installation.write_file(people(2))
    assert empty in installation.refusal("bulk", "create", "--template", empty, "--recipients", str(file))


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"DOPPLER_RELAY_API_KEY": "wrong-key"}, ["401.1", "DOPPLER_RELAY_API_KEY"]),
        ({"DOPPLER_RELAY_ACCOUNT_ID": "otra"}, ["403.1", "DOPPLER_RELAY_ACCOUNT_ID"]),
    ],
)
def test_a_wrong_key_or_account_is_told_when_creating_and_stops_a_send(
    installation: Installation, sandbox: Sandbox, variables: dict[str, str], named: list[str]
) -> None:
    file = installation.write_file(people(5))
    order = ("bulk", "create", "--template", sandbox.template, "--recipients", str(file))
    bulk_send = str(installation.json(*order)["id"])
    sentence = installation.refusal(*order, **variables)
    for words in named:
        assert words in sentence, sentence
    assert "wrong-key" not in sentence

    stopped = installation.run("bulk", "start", bulk_send, "--drain", "--json", **variables)
    assert stopped.code == 1
    assert stopped.json["error"]
    status = installation.json("bulk", "status", bulk_send)
    assert (status["status"], status["pending"]) == ("error", 5)
    assert status["reason"] == stopped.json["error"]
    # Mended, it goes on from where it stood.
    installation.json("bulk", "resume", bulk_send)
    assert installation.json("process_bulk_scheduled")["accepted"] == 5


def test_without_a_key_nothing_is_tried(installation: Installation, sandbox: Sandbox) -> None:
    file = installation.write_file(people(5))
    order = ("bulk", "create", "--template", sandbox.template, "--recipients", str(file))
    bulk_send = str(installation.json(*order)["id"])
    for command in (order, ("bulk", "start", bulk_send, "--drain"), ("process_bulk_scheduled",)):
        assert "DOPPLER_RELAY_API_KEY" in installation.refusal(*command, DOPPLER_RELAY_API_KEY="")
    assert installation.json("process_bulk_scheduled")["accepted"] == 5


def test_a_relay_that_is_down_loses_nothing(installation: Installation, sandbox: Sandbox) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        down = {"DOPPLER_RELAY_BASE_URL": f"http://127.0.0.1:{unused.getsockname()[1]}/"}
        file = installation.write_file(people(5))
        order = ("bulk", "create", "--template", sandbox.template, "--recipients", str(file))
        assert "127.0.0.1" in installation.refusal(*order, **down)
        bulk_send = str(installation.json(*order)["id"])
        installation.refusal("bulk", "start", bulk_send, "--drain", **down)
    status = installation.json("bulk", "status", bulk_send)
    assert (status["status"], status["pending"]) == ("sending", 5)
    assert installation.json("process_bulk_scheduled")["accepted"] == 5


@pytest.fixture
def html_server() -> Iterator[str]:
    class Proxy(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = b"<html><body>Service page of a proxy</body></html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_a_relay_that_answers_html_is_told(installation: Installation, sandbox: Sandbox, html_server: str) -> None:
    file = installation.write_file(people(2))
    sentence = installation.refusal(
        *("bulk", "create", "--template", sandbox.template, "--recipients", str(file)),
        DOPPLER_RELAY_BASE_URL=html_server,
    )
    assert html_server in sentence
    assert "<html" not in sentence


def test_a_file_that_is_not_there_is_told(installation: Installation, sandbox: Sandbox) -> None:
    for path in ("no-such.csv", str(installation.folder)):
        sentence = installation.refusal("bulk", "create", "--template", sandbox.template, "--recipients", path)
        assert Path(path).name in sentence


def test_a_database_that_is_not_migrated_is_told(installation: Installation, sandbox: Sandbox, tmp_path: Path) -> None:
    sentence = installation.refusal("bulk", "status", "1", USE_SQLITE="1", SQLITE_PATH=str(tmp_path / "other.sqlite3"))
    assert "migrate" in sentence

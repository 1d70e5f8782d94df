"""The inbox: pages that show what was accepted, in Spanish. Everything in a mail is foreign text.

Pages carry no script and load nothing from elsewhere; a mail's HTML lives in a frame of its own that may neither run
scripts nor reach the page around it.
"""

import base64
import hashlib
import json
import re
from pathlib import Path
from urllib.parse import quote, urlencode

from relay_sandbox.answers import Json, Problem
from relay_sandbox.clock import Clock, day_text, iso
from relay_sandbox.outcomes import visible_state
from relay_sandbox.rendering import render_html
from relay_sandbox.stats import Stats
from relay_sandbox.store import Row, Store
from relay_sandbox.wire import Request, Response

PAGE_SIZE = 25
MAX_QUERY = 200
STATUS_LABELS = {
    "queued": "En cola",
    "sent": "Enviado",
    "rejected": "Rechazado",
    "retrying": "Reintentando",
    "invalid": "Inválido",
    "dropped": "Descartado",
}
_KINDS = {"to": "", "cc": "CC: ", "bcc": "CCO: "}

_PAGES = Path(__file__).parent / "pages"
_STYLE = (_PAGES / "style.css").read_text("utf-8")
_LAYOUT, _LIST, _MAIL = ((_PAGES / f"{name}.html").read_text("utf-8") for name in ("layout", "list", "mail"))
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_SAFE_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
_PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
# A mail styles itself inline; `sandbox` keeps scripts out even when somebody opens the frame's address by itself.
_MAIL_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; form-action 'none';"
    " base-uri 'none'; frame-ancestors 'self'"
)
_FILE_POLICY = "sandbox; default-src 'none'"
_HTML_TYPE = "text/html; charset=utf-8"


class Inbox:
    def __init__(self, store: Store, clock: Clock, stats: Stats, delivery_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._stats = stats
        self._delivery_ms = int(delivery_seconds * 1000)

    # -- the list --------------------------------------------------------------------------------------------

    def index(self, request: Request) -> Response:
        """Newest first. Pages are cut by id, not by number: that stays quick and steady while mails come in."""
        query = request.query.get("q", "").strip()[:MAX_QUERY]
        before, after = _id(request.query.get("before")), _id(request.query.get("after"))
        rows = self._page(query, before, after)
        newer, older = self._neighbours(query, rows)
        content = {
            "query": query,
            "has_mails": bool(rows),
            "mails": [self._line(row) for row in rows],
            "newer": newer,
            "older": older,
            "base": f"http://{request.headers.get('host', '127.0.0.1:8025')}",
        }
        return self._html_page("Relay de prueba", _LIST, content)

    def _page(self, query: str, before: int | None, after: int | None, size: int = PAGE_SIZE) -> list[Row]:
        bound, number = ("m.id > ?", after) if after is not None else ("m.id < ?", before or 2**62)
        order = "ASC" if after is not None else "DESC"
        match = ""
        patterns: tuple[str, ...] = ()
        if query:
            pattern = "%" + re.sub(r"([\\%_])", r"\\\1", query) + "%"
            patterns = (pattern, pattern)
            match = (
                " AND (m.subject LIKE ? ESCAPE '\\' OR EXISTS (SELECT 1 FROM deliveries d"
                " WHERE d.message = m.id AND d.recipient LIKE ? ESCAPE '\\'))"
            )
        rows = self._store.rows(
            f"SELECT m.id, m.subject, m.received FROM messages m WHERE {bound}{match}"  # noqa: S608 - fixed parts
            f" ORDER BY m.id {order} LIMIT ?",
            (number, *patterns, size),
        )
        return rows[::-1] if after is not None else rows

    def _neighbours(self, query: str, rows: list[Row]) -> tuple[str | None, str | None]:
        if not rows:
            return None, None
        newest, oldest = rows[0]["id"], rows[-1]["id"]
        newer = self._page(query, None, newest, 1)
        older = self._page(query, oldest, None, 1)
        return (
            _href(query, "after", newest) if newer else None,
            _href(query, "before", oldest) if older else None,
        )

    def _line(self, row: Row) -> Json:
        deliveries = self._deliveries(row["id"], 1)
        others = self._store.value("SELECT count(*) - 1 FROM deliveries WHERE message = ?", (row["id"],))
        return {
            "id": row["id"],
            "recipient": deliveries[0]["recipient"],
            "others": others or None,
            "subject": row["subject"] or "(sin asunto)",
            "moment": iso(row["received"]),
            "date": day_text(row["received"]),
            **self._state(deliveries[0]),
        }

    def _deliveries(self, message: int, limit: int) -> list[Row]:
        sql = "SELECT * FROM deliveries WHERE message = ? ORDER BY id LIMIT ?"
        return self._store.rows(sql, (message, limit))

    def _state(self, delivery: Row) -> Json:
        age = self._clock.now() - delivery["received"]
        state = visible_state(delivery["fate"], delivery["opens"], delivery["clicks"], age, self._delivery_ms)
        label = STATUS_LABELS[state["status"]]
        return {"status": state["status"], "status_label": label, "opens": state["opens"], "clicks": state["clicks"]}

    # -- one mail --------------------------------------------------------------------------------------------

    def mail(self, request: Request, number: str) -> Response:
        row = self._message(number)
        model = json.loads(row["content"]).get("model")
        files = self._files(row["id"])
        html, text = self._content(row)
        variables = [{"name": name, "value": _value(value)} for name, value in (model or {}).items()]
        reply_to = json.loads(row["reply_to"]) if row["reply_to"] else None
        content = {
            "id": row["id"],
            "subject": row["subject"] or "(sin asunto)",
            "from": _person(row["from_email"], row["from_name"]),
            "deliveries": [self._recipient(one) for one in self._deliveries(row["id"], 200)],
            "reply_to": _person(reply_to["email"], reply_to.get("name")) if reply_to else None,
            "moment": iso(row["received"]),
            "date": day_text(row["received"]),
            "template": self._template_name(row),
            "guid": row["guid"],
            "has_files": bool(files),
            "files": files,
            "has_variables": bool(variables),
            "variables": variables,
            "has_html": html is not None,
            "text": text,
        }
        return self._html_page(f"{content['subject']} · Relay de prueba", _MAIL, content)

    def html(self, request: Request, number: str) -> Response:
        html, _ = self._content(self._message(number))
        if html is None:
            raise Problem(404, 1, "The mail has no HTML")
        headers = (("Content-Security-Policy", _MAIL_POLICY), *_SAFE_HEADERS)
        return Response(200, html.encode("utf-8", "replace"), _HTML_TYPE, headers)

    def attachment(self, request: Request, number: str, position: str) -> Response:
        """Always a download of plain bytes: an attached HTML page must not run as a page of the sandbox."""
        row = self._store.row(
            "SELECT a.filename, c.content FROM attachments a JOIN contents c ON c.sha256 = a.sha256"
            " WHERE a.message = ? AND a.position = ?",
            (_id(number), _id(position)),
        )
        if row is None:
            raise Problem(404, 1, "No such attachment")
        disposition = f"attachment; filename*=UTF-8''{quote(row['filename'], safe='')}"
        headers = (
            ("Content-Disposition", disposition),
            ("Content-Security-Policy", _FILE_POLICY),
            *_SAFE_HEADERS,
        )
        return Response(200, row["content"], "application/octet-stream", headers)

    def _message(self, number: str) -> Row:
        row = self._store.row("SELECT * FROM messages WHERE id = ?", (_id(number),))
        if row is None:
            raise Problem(404, 1, "No such mail")
        return row

    def _content(self, row: Row) -> tuple[str | None, str | None]:
        """HTML and text. A template is rendered now, with the body it had when the message was accepted."""
        content = json.loads(row["content"])
        if "model" not in content:
            return content["html"], content["text"]
        body = self._store.row("SELECT html FROM revisions WHERE id = ?", (row["revision"],))
        return (render_html(body["html"], content["model"]) if body else None), None

    def _files(self, message: int) -> list[Json]:
        sql = "SELECT position, filename, type, size FROM attachments WHERE message = ? ORDER BY position"
        return [{**dict(row), "size": _size(row["size"])} for row in self._store.rows(sql, (message,))]

    def _recipient(self, delivery: Row) -> Json:
        state = self._state(delivery)
        seen = f"aperturas: {state['opens']}, clics: {state['clicks']}" if state["opens"] else ""
        address = _person(delivery["recipient"], delivery["name"])
        return {**state, "kind": _KINDS[delivery["kind"]], "address": address, "seen": seen}

    def _template_name(self, row: Row) -> str | None:
        sql = "SELECT name FROM templates WHERE account = ? AND id = ?"
        template = self._store.row(sql, (row["account"], row["template"]))
        return template["name"] if template else None

    def _html_page(self, title: str, page: str, content: Json) -> Response:
        count = self._stats.accepted
        html = render_html(
            _LAYOUT,
            {
                "title": title,
                "style": _STYLE,
                "total": "1 correo" if count == 1 else f"{count:,} correos".replace(",", "."),
                "content": render_html(page, content),
            },
        )
        headers = (("Content-Security-Policy", _PAGE_POLICY), *_SAFE_HEADERS)
        return Response(200, html.encode("utf-8", "replace"), _HTML_TYPE, headers)


def _id(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,18}", text) else None


def _href(query: str, name: str, number: int) -> str:
    return "/?" + urlencode({**({"q": query} if query else {}), name: number})


def _person(email: str, name: str | None) -> str:
    return f"{name} <{email}>" if name else email


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _size(count: int) -> str:
    if count < 1024:
        return f"{count} bytes"
    return f"{count / 1024:.0f} KB" if count < 1024**2 else f"{count / 1024**2:.1f} MB".replace(".", ",")

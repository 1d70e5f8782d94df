"""Templates: the endpoints of relay API notes §3, and what the send path needs of a template."""

import json
import uuid
from dataclasses import dataclass

from relay_sandbox.accounts import Account
from relay_sandbox.answers import Json, Problem, invalid, json_answer, link, page_answer, page_of
from relay_sandbox.checks import check_template, check_template_body, json_object
from relay_sandbox.clock import Clock, iso
from relay_sandbox.rendering import SubjectRenderer, subject_renderer
from relay_sandbox.store import Row, Store
from relay_sandbox.wire import Request, Response

_SELECT = (
    "SELECT t.*, r.html FROM templates t LEFT JOIN revisions r ON r.id = t.revision"
    " WHERE t.account = ? AND t.deleted = 0"
)


@dataclass(frozen=True, slots=True)
class SendTemplate:
    """The part of a template that every send needs."""

    id: str
    revision: int | None
    from_email: str
    from_name: str | None
    subject: SubjectRenderer


class Templates:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._for_send: dict[tuple[int, str], SendTemplate] = {}

    def for_send(self, account: int, template_id: str) -> SendTemplate:
        found = self._for_send.get((account, template_id))
        if found is None:
            row = self._row(account, template_id)
            subject = subject_renderer(row["subject"] or "")
            found = SendTemplate(row["id"], row["revision"], row["from_email"], row["from_name"], subject)
            if len(self._for_send) > 1000:
                self._for_send.clear()
            self._for_send[account, template_id] = found
        return found

    def _row(self, account: int, template_id: str) -> Row:
        row = self._store.row(f"{_SELECT} AND t.id = ?", (account, template_id.lower()))
        if row is None:
            path = f"/accounts/{account}/templates/{template_id}"
            raise Problem(404, 1, "No such template", extra={"resourceNotFoundPath": path})
        return row

    # -- endpoints -------------------------------------------------------------------------------------------

    def index(self, request: Request, account: Account) -> Response:
        page, per_page = page_of(request)
        rows = self._store.rows(
            f"{_SELECT} ORDER BY t.name, t.id LIMIT ? OFFSET ?",
            (account.id, per_page, (page - 1) * per_page),
        )
        count = self._store.value("SELECT count(*) FROM templates WHERE account = ? AND deleted = 0", (account.id,))
        items = [_template(row, with_body=row["body_type"] == "rawHtml") for row in rows]
        return page_answer(request, "template-collection", items, count)

    def get(self, request: Request, account: Account, template_id: str) -> Response:
        row = self._row(account.id, template_id)
        # The plain GET may lack the content (relay API notes §3.1): one of the samples does, so that clients
        # learn to follow the get-template-body link.
        with_body = row["body_type"] == "rawHtml" and not row["hides_body"]
        return json_answer(_template(row, with_body=with_body), "template")

    def create(self, request: Request, account: Account) -> Response:
        body = json_object(request.body)
        if errors := check_template(body):
            raise invalid(errors)
        template_id = str(uuid.uuid4())
        now = self._clock.now()
        self._store.execute(
            "INSERT INTO templates VALUES (?,?,?,?,?,?,'empty',NULL,NULL,0,?,?,0)",
            (account.id, template_id, *_metadata(body), now, now),
        )
        href = f"{account.path}/templates/{template_id}"
        answer = {
            "createdResourceId": template_id,
            "message": "Template created",
            "_links": [link(href, "related /docs/rels/get-template", "The template")],
        }
        return json_answer(answer, "creation-result", 201, (("Location", href),))

    def update(self, request: Request, account: Account, template_id: str) -> Response:
        row = self._row(account.id, template_id)
        body = json_object(request.body)
        if errors := check_template(body, row["id"]):
            raise invalid(errors)
        self._store.execute(
            "UPDATE templates SET name = ?, from_email = ?, from_name = ?, subject = ?, updated = ?"
            " WHERE account = ? AND id = ?",
            (*_metadata(body), self._clock.now(), account.id, row["id"]),
        )
        return self._changed(account, row["id"], "Template updated")

    def delete(self, request: Request, account: Account, template_id: str) -> Response:
        row = self._row(account.id, template_id)
        self._store.execute("UPDATE templates SET deleted = 1 WHERE account = ? AND id = ?", (account.id, row["id"]))
        return self._changed(account, row["id"], "Template deleted")

    def get_body(self, request: Request, account: Account, template_id: str) -> Response:
        row = self._row(account.id, template_id)
        body: Json = {"name": row["name"], "html": row["html"] or ""}
        if row["mseditor"]:
            body["mseditor"] = json.loads(row["mseditor"])
        body["_links"] = _links(account.id, row["id"])
        return json_answer(body, "template-body")

    def put_body(self, request: Request, account: Account, template_id: str) -> Response:
        row = self._row(account.id, template_id)
        body = json_object(request.body)
        if errors := check_template_body(body):
            raise invalid(errors)
        mseditor = body.get("mseditor")
        revision = self._store.execute("INSERT INTO revisions (html) VALUES (?)", (body["html"],))
        self._store.execute(
            "UPDATE templates SET revision = ?, body_type = ?, mseditor = ?, updated = ? WHERE account = ? AND id = ?",
            (
                revision,
                "rawHtml" if mseditor is None else "mseditor",
                None if mseditor is None else json.dumps(mseditor),
                self._clock.now(),
                account.id,
                row["id"],
            ),
        )
        return self._changed(account, row["id"], "Template body updated")

    def _changed(self, account: Account, template_id: str, message: str) -> Response:
        self._for_send.clear()
        return json_answer({"message": message, "_links": _links(account.id, template_id)}, "message-result")


def _metadata(body: Json) -> tuple[str, str, str | None, str | None]:
    return body["name"], body["from_email"], body.get("from_name"), body.get("subject")


def _template(row: Row, *, with_body: bool) -> Json:
    template: Json = {
        "id": row["id"],
        "name": row["name"],
        "from_email": row["from_email"],
        "from_name": row["from_name"],
        "subject": row["subject"],
        "bodyType": row["body_type"],
        "created_at": iso(row["created"]),
        "last_updated": iso(row["updated"]),
        "_links": _links(row["account"], row["id"]),
    }
    if with_body:
        template["body"] = row["html"]
    return template


def _links(account: int, template_id: str) -> list[Json]:
    href = f"/accounts/{account}/templates/{template_id}"
    return [
        link(href, "self /docs/rels/get-template", "Template"),
        link(f"{href}/body", "/docs/rels/get-template-body", "Template body"),
        link(f"{href}/message", "/docs/rels/send-template-message", "Send a message with this template"),
    ]

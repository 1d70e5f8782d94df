"""What the relay refuses in a request body: pure functions that return the fields at fault."""

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from relay_sandbox.answers import FieldError, Json, invalid

# ASCII only: a name with other letters cannot be delivered by a relay without SMTPUTF8, and domains arrive as
# punycode. Neither commas nor quotes pass, which is why report rows can leave addresses bare.
_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])"
)
_TYPES = ("to", "cc", "bcc")
_REQUIRED = "The field is required"


@dataclass(frozen=True, slots=True)
class Attachment:
    filename: str
    content_type: str
    content: bytes
    sha256: str


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def json_object(body: bytes) -> Json:
    """The body as an object; raises 400.1 for everything else, whatever bytes arrive."""
    try:
        value = _decoder.decode(body.decode("utf-8-sig"))
        if b"\\ud" in body or b"\\uD" in body:  # half of a surrogate pair is valid JSON, and no text
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise invalid([("", "The body is not valid JSON in UTF-8")]) from None
    if not isinstance(value, dict):
        raise invalid([("", "The body must be a JSON object")])
    return value


def is_address(value: object) -> bool:
    return (
        isinstance(value, str)
        and 3 < len(value) <= 254
        and value.find("@") <= 64
        and _ADDRESS.fullmatch(value) is not None
    )


def check_message(body: Json, attachments: list[Attachment]) -> list[FieldError]:
    """Errors of `POST …/messages`; decoded attachments are added to `attachments`."""
    errors = _check_common(body, attachments)
    if body.get("from_email") is None:
        errors.append(("from_email", _REQUIRED))
    if not isinstance(body.get("subject"), str) or not body["subject"].strip():
        errors.append(("subject", _REQUIRED))
    for name in ("html", "text"):
        if not isinstance(body.get(name), str | None):
            errors.append((name, "Must be text"))
    return errors


def check_template_message(body: Json, attachments: list[Attachment]) -> list[FieldError]:
    """Errors of `POST …/templates/{id}/message`. A `subject` or `templateId` in it is not proven: ignored."""
    errors = _check_common(body, attachments)
    if not isinstance(body.get("model"), dict):
        errors.append(("model", _REQUIRED if body.get("model") is None else "Must be an object"))
    return errors


def _check_common(body: Json, attachments: list[Attachment]) -> list[FieldError]:
    errors: list[FieldError] = []
    sender = body.get("from_email")
    if sender is not None and not is_address(sender):
        errors.append(("from_email", "Not an address"))
    if not isinstance(body.get("from_name"), str | None):
        errors.append(("from_name", "Must be text"))
    _check_recipients(body.get("recipients"), errors)
    reply_to = body.get("reply_to")
    if reply_to is not None:
        _check_person(reply_to, "reply_to", errors)
    files = body.get("attachments")
    if files is not None:
        _check_attachments(files, errors, attachments)
    return errors


def _check_recipients(recipients: object, errors: list[FieldError]) -> None:
    if not isinstance(recipients, list) or not recipients:
        errors.append(("recipients", "At least one recipient is required"))
        return
    for index, recipient in enumerate(recipients):
        key = f"recipients[{index}]"
        if _check_person(recipient, key, errors) and recipient.get("type") not in _TYPES:
            errors.append((f"{key}.type", "Must be to, cc or bcc"))


def _check_person(person: object, key: str, errors: list[FieldError]) -> bool:
    """An object with `email` and perhaps `name`; False when it is no object at all."""
    if not isinstance(person, dict):
        errors.append((key, "Must be an object with email and name"))
        return False
    if not is_address(person.get("email")):
        errors.append((f"{key}.email", "Not an address"))
    if not isinstance(person.get("name"), str | None):
        errors.append((f"{key}.name", "Must be text"))
    return True


def _check_attachments(files: object, errors: list[FieldError], attachments: list[Attachment]) -> None:
    if not isinstance(files, list):
        errors.append(("attachments", "Must be a list"))
        return
    for index, file in enumerate(files):
        _check_attachment(file, f"attachments[{index}]", errors, attachments)


def _check_attachment(file: object, key: str, errors: list[FieldError], attachments: list[Attachment]) -> None:
    if not isinstance(file, dict):
        errors.append((key, "Must be an object"))
        return
    filename, encoded = file.get("filename"), file.get("base64_content")
    # `type` in the samples, `content_type` in newer first-party code (relay API notes §2.2)
    content_type = file.get("type", file.get("content_type"))
    if not isinstance(filename, str) or not filename.strip():
        errors.append((f"{key}.filename", _REQUIRED))
    if not isinstance(content_type, str) or not content_type.strip():
        errors.append((f"{key}.type", _REQUIRED))
    content = _decode(encoded)
    if content is None:
        errors.append((f"{key}.base64_content", "Not standard base64"))
    elif isinstance(filename, str) and isinstance(content_type, str):
        attachments.append(Attachment(filename, content_type, content, hashlib.sha256(content).hexdigest()))


def _decode(encoded: object) -> bytes | None:
    if not isinstance(encoded, str):
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None


def first_address(body: Json) -> str:
    """The first recipient of a body nobody has checked yet; empty when there is none."""
    addresses = addresses_of(body)
    return addresses[0] if addresses else ""


def addresses_of(body: Json) -> list[str]:
    recipients = body.get("recipients")
    if not isinstance(recipients, list):
        return []
    emails = [person.get("email") for person in recipients if isinstance(person, dict)]
    return [email for email in emails if isinstance(email, str)]


def check_template(body: Json, template_id: str | None = None) -> list[FieldError]:
    errors: list[FieldError] = []
    for name, longest in (("name", 100), ("from_email", 256), ("from_name", 100), ("subject", 256)):
        value = body.get(name)
        if value is None and name in ("from_name", "subject"):
            continue
        if not isinstance(value, str) or not value.strip():
            if not (value == "" and name in ("from_name", "subject")):
                errors.append((name, _REQUIRED if value is None or value == "" else "Must be text"))
        elif len(value) > longest:
            errors.append((name, f"Must have at most {longest} characters"))
    if isinstance(body.get("from_email"), str) and not is_address(body["from_email"]):
        errors.append(("from_email", "Not an address"))
    if template_id is not None and body.get("id") not in (None, template_id):
        errors.append(("id", "Differs from the id in the path"))
    return errors


def check_template_body(body: Json) -> list[FieldError]:
    errors: list[FieldError] = []
    if not isinstance(body.get("html"), str):
        errors.append(("html", _REQUIRED if body.get("html") is None else "Must be text"))
    if not isinstance(body.get("mseditor"), dict | None):
        errors.append(("mseditor", "Must be an object"))
    return errors

"""Mail that stands in the reports of today."""

from tests.sandbox import Sandbox


def send(sandbox: Sandbox, count: int) -> None:
    """So many deliveries an hour ago: in every report of today that is asked for now."""
    sandbox.ask("PUT", "/_sandbox/clock", {"offset_seconds": -3600})
    for number in range(count):
        body = {
            "from_email": "avisos@example.com",
            "recipients": [{"type": "to", "email": f"persona{number}@example.com"}],
            "subject": "Hola",
            "html": "<p>Hola</p>",
        }
        sandbox.ask("POST", "/accounts/sandbox/messages", body)
    sandbox.ask("PUT", "/_sandbox/clock", {"offset_seconds": 0})

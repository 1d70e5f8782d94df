"""How the work on a report ends in this run, when it does not end with a file."""

from typing import Any


class Failed(Exception):
    """The report is in ERROR from now on. `code` and `params` are for `reports.problems`; `fields` are written too."""

    def __init__(self, code: str, params: dict[str, Any] | None = None, **fields: Any) -> None:
        super().__init__(code)
        self.code = code
        self.params = params or {}
        self.fields = fields


class LeftForLater(Exception):
    """Another run goes on with it, not before `seconds`; its row says from where."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

"""The templates of the sandbox relay, as somebody else changes them there."""

import http.client
import json
from dataclasses import dataclass
from typing import Any

from relay.mail_templates import Version
from tests.sandbox import Sandbox

HTML = "<p>Hola {{nombre}}</p>"


@dataclass
class TemplatesAtRelay:
    sandbox: Sandbox

    @property
    def path(self) -> str:
        return f"/accounts/{self.sandbox.account}/templates"

    def clear(self) -> None:
        while items := self._ask("GET", f"{self.path}?per_page=200")["items"]:
            for item in items:
                self.delete(item["id"])

    def make(self, name: str = "Aviso", html: str = HTML, *, visual: bool = False, **fields: str) -> str:
        wanted = {"name": name, "from_email": "avisos@example.com", "from_name": "Avisos", "subject": "Su cuota"}
        made: str = self._ask("POST", self.path, wanted | fields)["createdResourceId"]
        self.write(made, html, visual=visual)
        return made

    def write(self, template_id: str, html: str, *, visual: bool = False) -> None:
        editor: dict[str, Any] = {"mseditor": {"attributes": {}, "settings": {}, "children": []}} if visual else {}
        self._ask("PUT", f"{self.path}/{template_id}/body", {"html": html, **editor})

    def delete(self, template_id: str) -> None:
        self._ask("DELETE", f"{self.path}/{template_id}")

    def has(self, template_id: str) -> Version:
        found = self._ask("GET", f"{self.path}/{template_id}")
        html = self._ask("GET", f"{self.path}/{template_id}/body")["html"]
        return Version(found["name"], found["subject"] or "", found["from_email"], found["from_name"] or "", html)

    def names(self) -> list[str]:
        return [item["name"] for item in self._ask("GET", f"{self.path}?per_page=200")["items"]]

    def fill(self, account: str, key: str, count: int) -> None:
        """So many templates without content, in another account than that of the other tests."""
        connection = http.client.HTTPConnection(self.sandbox.url.removeprefix("http://"))
        headers = {"Authorization": f"token {key}", "Content-Type": "application/json"}
        for number in range(count):
            made = json.dumps({"name": f"Plantilla {number:04}", "from_email": "avisos@example.com"})
            connection.request("POST", f"/accounts/{account}/templates", made, headers)
            assert connection.getresponse().read()
        connection.close()

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        return dict(json.loads(self.sandbox.ask(method, path, body)))

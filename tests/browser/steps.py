"""What a person does in the console, by the names of buttons and fields: a class for each page."""

import re
from datetime import date

from playwright.sync_api import Locator, Page, expect

from tests.browser.visitor import Visitor


class Step:
    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self.page: Page = visitor.page

    def button(self, name: str) -> Locator:
        """A button, or a link that looks like one."""
        exact = re.compile(rf"^(\w+ )?{re.escape(name)}$")  # an icon's name may stand before it
        return self.page.get_by_role("button", name=exact).or_(self.page.get_by_role("link", name=exact)).first

    def sees(self, text: str) -> None:
        expect(self.page.locator("main, #main, body").first).to_contain_text(text)

    def is_refused(self, path: str) -> None:
        assert self.visitor.open(path) == 403, path


class BulkSends(Step):
    PATH = "/admin/relay/bulksend/"

    def open(self) -> "BulkSends":
        assert self.visitor.open(self.PATH) == 200
        return self

    def row(self, name: str) -> Locator:
        return self.page.locator("#result_list tbody tr, #result_list tr").filter(has_text=name).first

    def choose(self, name: str) -> "BulkSendPage":
        self.row(name).get_by_role("link", name=name).first.click()
        self.page.wait_for_url(re.compile(r"/bulksend/\d+/"))
        return BulkSendPage(self.visitor)


class BulkSendPage(Step):
    """One bulk send: what can be decided, and its numbers."""

    def decide(self, button: str) -> None:
        """Asked and confirmed."""
        self.button(button).click()
        self.page.locator("form").get_by_role("button", name=button, exact=True).click()
        self.page.wait_for_url(re.compile(r"/bulksend/\d+/change/"))

    def count(self, state: str) -> int:
        tile = self.page.locator(".relay-tile").filter(has_text=re.compile(state, re.IGNORECASE)).first
        return int(re.sub(r"\D", "", tile.locator(".relay-big").inner_text()))

    def wait_for(self, text: str, *, seconds: int = 40) -> None:
        """Until the page says so."""
        for _look in range(seconds * 2):
            if text in self.page.locator(".relay-head").first.inner_text():
                return
            self.page.wait_for_timeout(500)
            self.page.reload()
        self.sees(text)

    def wait_for_more_than(self, least: int, state: str, *, seconds: int = 40) -> int:
        for _look in range(seconds * 4):
            if (count := self.count(state)) > least:
                return count
            self.page.wait_for_timeout(250)
            self.page.reload()
        raise AssertionError(f"{state}: {self.count(state)}")


class Recipients(Step):
    def find(self, text: str) -> "Recipients":
        assert self.visitor.open("/admin/relay/recipient/") == 200
        self.page.locator("#searchbar").fill(text)
        self.page.locator("#searchbar").press("Enter")
        self.page.wait_for_url("**q=*")
        return self

    def choose(self, address: str) -> "Recipients":
        self.page.locator("#result_list").get_by_role("link").filter(has_text=address).first.click()
        self.page.wait_for_url(re.compile(r"/recipient/\d+/change/"))
        return self


class Reports(Step):
    PATH = "/admin/reports/generatedreport/"

    def open(self) -> "Reports":
        assert self.visitor.open(self.PATH) == 200
        return self

    def request(self, first: date, last: date) -> "Reports":
        self.button("Solicitar reporte").click()
        self.page.wait_for_url("**/add/")
        for name, day in (("first_day", first), ("last_day", last)):
            self.page.locator(f"[name={name}]").fill(day.strftime("%d/%m/%Y"))
        self.page.locator("form[data-once]").get_by_role("button", name="Solicitar reporte").click()
        self.page.wait_for_url(f"**{self.PATH}*")
        return self

    def load_button(self) -> Locator:
        return self.page.get_by_role("button", name=re.compile(r"Cargar BD \(default\)")).first

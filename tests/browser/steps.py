"""What a person does in the console, by the names of buttons and fields: a class for each page."""

import re
from datetime import date
from pathlib import Path

from playwright.sync_api import FrameLocator, Locator, Page, expect

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

    def change_rate(self, rate: str) -> None:
        """Empty: no limit."""
        self.button("Cambiar ritmo o ventana").click()
        self.page.locator("[name=max_rate]").fill(rate)
        self.page.locator("form").get_by_role("button", name="Cambiar ritmo o ventana", exact=True).click()
        self.page.wait_for_url(re.compile(r"/bulksend/\d+/change/"))


class Preparing(Step):
    """The four steps in which a bulk send is prepared."""

    def begin(self) -> "Preparing":
        assert self.visitor.open("/admin/relay/preparation/add/") == 200
        return self

    def choose(self, template: str, sender: str, name: str) -> "Preparing":
        self.page.locator(".relay-template").filter(has_text=template).first.locator("input").check()
        self.page.locator("[name=name]").fill(name)
        options = self.page.locator("[name=sender] option")
        value = options.filter(has_text=sender).first.get_attribute("value")
        self.page.locator("[name=sender]").select_option(value)
        self.page.locator(".relay-bar button[value=next]").click()
        self.page.wait_for_url("**/file/")
        return self

    def upload(self, file: Path) -> "Preparing":
        """Chosen, and on its way at once."""
        self.page.locator("#id_file").set_input_files(file)
        expect(self.page.locator(".relay-file")).to_contain_text(file.name, timeout=60_000)
        return self

    def attach(self, file: Path) -> "Preparing":
        """While a choice above is not saved yet, which must not be lost by it."""
        choice = self.page.locator("#file-form [name=allow_repeats]")
        choice.check()
        self.page.locator("#id_files").set_input_files(file)
        expect(self.page.locator(".relay-attached")).to_contain_text(file.name, timeout=60_000)
        expect(choice).to_be_checked()
        choice.uncheck()
        return self

    def check(self) -> "Preparing":
        """A worker reads every row; the page leads on to the review when it has."""
        self.page.locator(".relay-bar button[value=check]").click()
        self.page.wait_for_url("**/review/", timeout=60_000)
        return self

    def numbers(self) -> list[int]:
        """Of the review: rows, valid, rejected. Waited for: an address is there before its page is."""
        tiles = self.page.locator(".review-tiles .relay-big")
        expect(tiles).to_have_count(3)
        return [int(re.sub(r"\D", "", one)) for one in tiles.all_inner_texts()]

    def back_to_the_file(self) -> "Preparing":
        self.page.locator("a[href*='/preparation/'][href$='/file/']").last.click()
        self.page.wait_for_url("**/file/")
        return self

    def accept_the_valid(self) -> "Preparing":
        form = self.page.locator("form[action*='accept']")
        form.locator("button[type=submit]").click()
        expect(form).to_have_count(0)  # accepted, and the page says so
        return self

    def preview(self) -> "Preparing":
        self.page.locator(".review-links a").first.click()
        self.page.wait_for_url("**/preview/**")
        return self

    def mail(self) -> FrameLocator:
        return self.page.frame_locator("iframe[sandbox]")

    def next_row(self) -> "Preparing":
        before = self.page.url
        self.page.locator("a[rel=next]").first.click()
        self.page.wait_for_url(lambda url: url != before)
        return self

    def send_me_a_test(self) -> "Preparing":
        self.page.locator("form[action*='test'] button[type=submit]").click()
        expect(self.page.locator("table caption")).to_be_attached(timeout=40_000)
        return self

    def schedule(self, bulk_send: int, day: date, hour: str, rate: str) -> "Preparing":
        assert self.visitor.open(f"/admin/relay/bulksend/{bulk_send}/when/") == 200
        self.page.locator("[name=when][value=later]").check()
        self.page.locator("[name=date]").fill(day.isoformat())
        self.page.locator("[name=hour]").fill(hour)
        self.page.locator("[name=max_rate]").fill(rate)
        self.page.locator("form.review-sides .relay-buttons button[type=submit]").first.click()
        expect(self.page.locator(".review-confirm")).to_be_visible()
        return self

    def confirm(self, count: int) -> BulkSendPage:
        expect(self.page.locator(".review-count")).to_contain_text(str(count))
        typed = self.page.locator("[name=typed]")
        if typed.count():
            typed.fill(str(count))
        self.page.locator(".review-confirm .relay-buttons button[type=submit]").first.click()
        self.page.wait_for_url(re.compile(r"/bulksend/\d+/change/"))
        return BulkSendPage(self.visitor)


class Recipients(Step):
    def find(self, text: str) -> "Recipients":
        assert self.visitor.open("/admin/relay/recipient/") == 200
        self.page.locator("#searchbar").fill(text)
        self.page.locator("#searchbar").press("Enter")
        self.page.wait_for_url("**q=*")
        return self

    def choose(self, address: str) -> "Recipients":
        self.page.locator("#content table, table").get_by_role("link").filter(has_text=address).first.click()
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

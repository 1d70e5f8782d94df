"""Somebody with a browser, who notices what a page must never do: run what people wrote, ask the outside, break its
own policy, fail in its scripts."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Error, Page, Request, Route

# Every hostile text of the world calls this, or makes an element of this name.
WATCH = """
window.__violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
    const {violatedDirective, blockedURI, sourceFile, sample} = event;
    window.__violations.push(`${violatedDirective}: ${blockedURI} ${sourceFile ?? ""} ${sample ?? ""}`);
});
"""


@dataclass
class Visitor:
    """One person in one context. `troubles` grows with whatever went wrong; `assert_untroubled` looks at it."""

    console: str
    context: BrowserContext
    page: Page
    troubles: list[str] = field(default_factory=list)

    def open(self, path: str) -> int:
        """The page below the console's address; its HTTP status."""
        try:
            answer = self.page.goto(self.console + path, wait_until="load")
        except Error as error:  # no page came: a file (204 stands for it), or a refusal without any text
            if "Download is starting" in str(error):
                return 204
            if "ERR_HTTP_RESPONSE_CODE_FAILURE" in str(error):
                return 405
            raise
        assert answer is not None, path
        return answer.status

    def log_in(self, name: str, password: str) -> None:
        self.open("/admin/login/")
        self.page.locator("[name=username]").fill(name)
        self.page.locator("[name=password]").fill(password)
        self.page.get_by_role("button", name="Iniciar sesión").click()
        self.page.wait_for_url("**/admin/")

    def enter(self, session: str) -> None:
        """As somebody whose session was made elsewhere."""
        self.context.add_cookies([{"name": "sessionid", "value": session, "url": self.console}])

    def look(self) -> None:
        """Takes note of what the page shown has done that it must not."""
        if urlsplit(self.page.url).scheme.startswith("http"):
            where = urlsplit(self.page.url).path
            self.troubles += [
                f"{where}: refused by the policy: {it}" for it in self.page.evaluate("window.__violations")
            ]
            self.page.evaluate("window.__violations = []")
            if self.page.evaluate("window.__executed !== undefined"):
                self.troubles.append(f"{where}: a text was executed")
            if self.page.locator("hostil-o, [data-hostil]").count():
                self.troubles.append(f"{where}: a text became an element")

    def assert_untroubled(self) -> None:
        self.look()
        assert self.troubles == []


@contextlib.contextmanager
def visiting(browser: Browser, console: str, **settings: object) -> Iterator[Visitor]:
    context = browser.new_context(locale="es-EC", timezone_id="America/Guayaquil", **settings)  # type: ignore[arg-type]
    context.set_default_timeout(20_000)
    page = context.new_page()
    visitor = Visitor(console, context, page)
    context.add_init_script(WATCH)

    def only_here(route: Route, request: Request) -> None:
        if request.url.startswith((console, "data:", "blob:", "about:")):
            route.continue_()
            return
        visitor.troubles.append(f"asked the outside: {request.url}")
        route.abort()

    def said(message: ConsoleMessage) -> None:
        # A page that may not be seen is no fault of a script; the tests look at the status themselves. A mail in its
        # frame is refused what it wants, and says so: that is what the frame is for.
        in_a_frame = any(message.location.get("url") == frame.url for frame in page.frames[1:])
        in_a_frame |= "Blocked script execution in" in message.text
        if message.type == "error" and "Failed to load resource" not in message.text and not in_a_frame:
            visitor.troubles.append(f"{urlsplit(page.url).path}: in the browser's log: {message.text}")

    def asked(dialog: Dialog) -> None:
        if dialog.type != "beforeunload":
            visitor.troubles.append(f"{urlsplit(page.url).path}: a dialog: {dialog.message}")
        dialog.accept()

    context.route("**/*", only_here)
    page.on("console", said)
    page.on("dialog", asked)
    page.on("pageerror", lambda error: visitor.troubles.append(f"{urlsplit(page.url).path}: {error}"))
    try:
        yield visitor
    finally:
        context.close()

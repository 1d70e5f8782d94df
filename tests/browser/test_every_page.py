"""Every page of the console, with hostile texts in every field: in Spanish, readable in both themes, usable on a
telephone, true to its own policy. A page that is new is found by its URL, and fails here until it has a sample."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Error, Page

from tests.browser.pages import FRAGMENTS, MAY_REFUSE, NO_PAGES, SAMPLES, Place, model_of, places, shape
from tests.browser.spanish import english_in
from tests.browser.visitor import Visitor, visiting
from tests.browser.world import World

AXE = (Path(__file__).parent / "axe/axe.min.js").read_text(encoding="utf-8")
# What a person sees or hears. The names of icons are drawn by a font; a text field shows what was typed.
TEXTS = """() => {
    const found = [];
    const quiet = "script, style, noscript, textarea, template, [data-data], .material-symbols-outlined";
    const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode())
        if (node.data.trim() && !node.parentElement.closest(quiet)) found.push(node.data.trim());
    for (const name of ["title", "placeholder", "aria-label", "alt"])
        for (const element of document.querySelectorAll(`[${name}]`)) found.push(element.getAttribute(name));
    for (const button of document.querySelectorAll("input[type=submit], input[type=button]")) found.push(button.value);
    return found.filter(Boolean);
}"""
AXE_RUN = """async (only) => {
    const settings = {resultTypes: ["violations"], iframes: false};
    if (only) settings.runOnly = {type: "rule", values: only};
    const answer = await axe.run(document, settings);
    const shown = (node) => `${node.target.join(" ")} ${node.html.slice(0, 160)}`;
    return answer.violations
        .filter((it) => ["serious", "critical"].includes(it.impact))
        .map((it) => `${it.id}: ${it.nodes.slice(0, 3).map(shown).join(" | ")}`);
}"""
LINKS = """() => [...document.querySelectorAll("a[href]")].map((it) => it.href)"""
DESK = {"width": 1300, "height": 900}
TELEPHONE = {"width": 360, "height": 780}
# Parts that are walked each by itself, so that two processes share the work.
PARTS = ["relay.bulksend", "relay.recipient", "relay", "reports", "others"]


def part_of(name: str) -> str:
    model = model_of(name)
    if model in PARTS:
        return model
    app = model.partition(".")[0]
    return app if app in PARTS else "others"


@pytest.mark.parametrize("part", PARTS)
def test_every_page_is_spanish_readable_narrow_and_harmless(part: str, visitor: Visitor, world: World) -> None:
    problems: list[str] = []
    seen: set[str] = set()
    leads: list[str] = []
    mine = [place for place in places(world.objects) if part_of(place.name) == part]
    assert mine
    for place in mine:
        found = _walk(place, visitor, seen, leads)
        problems += [f"{place.name}: {problem}" for problem in found]
    for path in leads:  # what no pattern tells: filters, orders, pages, tabs
        name = _name_of(path)
        if shape(path) not in seen and part_of(name) == part and name not in NO_PAGES:
            seen.add(shape(path))
            _status, found = _look(visitor, path, thoroughly=False)
            problems += [f"{path}: {problem}" for problem in found]
    visitor.look()
    problems += visitor.troubles
    visitor.troubles.clear()
    assert not problems, "\n".join(problems)


def _walk(place: Place, visitor: Visitor, seen: set[str], leads: list[str]) -> list[str]:
    """Its pages, or the first that shows something where the others would show the same."""
    if not place.paths:
        return ["no sample: give it one in tests/browser/pages.py, or its model an object in tests/browser/world.py"]
    problems: list[str] = []
    statuses: list[int] = []
    for path in place.paths:
        seen.add(shape(path))
        status, found = _look(visitor, path, thoroughly=place.name not in FRAGMENTS)
        statuses.append(status)
        problems += found
        leads += _leads(visitor)
        if status == 200 and not _differs_by_object(place.name):
            break
    if 200 not in statuses and not MAY_REFUSE.search(place.name):
        problems.append(f"no page answers: {statuses}")
    return problems


def _differs_by_object(name: str) -> bool:
    """Lists and pages of objects show something else for each; questions and forms do not."""
    return name.endswith(("_change", "_changelist")) or name in SAMPLES


def _look(visitor: Visitor, path: str, *, thoroughly: bool) -> tuple[int, list[str]]:
    page = visitor.page
    page.set_viewport_size(DESK)
    page.emulate_media(color_scheme="light")
    status = visitor.open(path)
    if status >= 500:
        return status, [f"{path}: status {status}"]
    if status != 200:
        return status, []
    problems = [f"in English: {text!r}" for text in english_in(page.evaluate(TEXTS))]
    if thoroughly:
        problems += [f"axe, light: {it}" for it in _axe(page, None)]
        _darken(page)
        problems += [f"axe, dark: {it}" for it in _axe(page, ["color-contrast", "link-in-text-block"])]
    page.set_viewport_size(TELEPHONE)
    page.wait_for_timeout(60)
    width = page.evaluate("document.scrollingElement.scrollWidth")
    if width > TELEPHONE["width"]:
        problems.append(f"{width} wide on {TELEPHONE['width']} pixels: {_widest(page)}")
    visitor.look()
    return status, [f"{path}: {problem}" for problem in problems]


def _axe(page: Page, only: list[str] | None) -> list[str]:
    if page.evaluate("window.axe === undefined"):
        page.evaluate(AXE)
    return list(page.evaluate(AXE_RUN, only))


def _darken(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.documentElement.classList.add('dark')")
    page.wait_for_timeout(250)  # colours fade


def _widest(page: Page) -> Any:
    return page.evaluate(
        """(width) => [...document.querySelectorAll("body *")]
            .filter((it) => it.getBoundingClientRect().right > width + 1 && it.offsetParent)
            .slice(0, 4).map((it) => it.outerHTML.slice(0, 120))""",
        TELEPHONE["width"],
    )


def _leads(visitor: Visitor) -> list[str]:
    """Pages it links to, below the console's address."""
    links = [urlsplit(link) for link in visitor.page.evaluate(LINKS) if link.startswith(visitor.console + "/admin/")]
    return [link.path + (f"?{link.query}" if link.query else "") for link in links]


def _name_of(path: str) -> str:
    from django.urls import Resolver404, resolve

    try:
        return resolve(urlsplit(path).path).url_name or ""
    except Resolver404:
        return ""


def test_the_pages_of_somebody_who_is_not_there_yet(chromium: Browser, world: World) -> None:
    with visiting(chromium, world.console) as stranger:
        _status, problems = _look(stranger, "/admin/login/", thoroughly=True)
        assert problems == []
        stranger.page.locator("[name=username]").fill("'\"><img data-hostil src=x onerror=__executed=1>")
        stranger.page.locator("[name=password]").fill("no es esta")
        stranger.page.get_by_role("button", name="Iniciar sesión").click()
        stranger.page.get_by_text("Por favor").first.wait_for()
        assert english_in(stranger.page.evaluate(TEXTS)) == []
        stranger.assert_untroubled()


def test_it_would_notice(visitor: Visitor) -> None:
    """Each kind of trouble, made on a page of ours: else a walker that sees nothing would be taken for good pages."""
    visitor.open("/admin/")
    page = visitor.page
    page.evaluate(
        """() => {
            const made = document.createElement("div");
            made.innerHTML = '<p>Bulk sends</p><button></button><div class="w">x</div><i data-hostil></i>'
                + '<p style="color: red">x</p><img src="https://example.com/x.png">';
            made.querySelector(".w").style.width = "900px";
            document.body.append(made);
        }"""
    )
    assert "Bulk sends" in english_in(page.evaluate(TEXTS))
    assert any(it.startswith("button-name") for it in _axe(page, None))
    page.set_viewport_size(TELEPHONE)
    assert page.evaluate("document.scrollingElement.scrollWidth") > 360
    with pytest.raises(Error):
        page.evaluate("() => { throw new Error('falla') }")
    page.evaluate(
        """() => {
            const it = document.createElement("script");
            it.textContent = "window.__executed = 1";
            document.body.append(it);
        }"""
    )
    assert page.evaluate("window.__executed === undefined"), "a script without nonce was run"
    visitor.look()
    told = "\n".join(visitor.troubles)
    visitor.troubles.clear()
    page.evaluate("document.querySelector('[data-hostil]').remove()")
    assert "a text became an element" in told
    assert "refused by the policy: script-src" in told
    assert "refused by the policy: style-src" in told
    assert "refused by the policy: img-src" in told

"""What a page of the console may load and run: its own files and what carries the nonce of the answer, nothing else.

Unfold's and Django's templates are read by a loader that puts the nonce on every script and style of theirs, and
replaces the few places that would need more (`CHANGES`); so no template of theirs is copied here. Styles on elements
(`style="…"`) are refused altogether: a page sets them by script, through the object model, or not at all.
"""

import re
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template import Origin
from django.template.loaders import app_directories
from django.utils.csp import CSP

type Policy = dict[str, list[str]]

# Whatever is no page (a file, a redirect, JSON) needs nothing.
NOTHING: Policy = {
    "default-src": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "form-action": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],
}

# Alpine, by which Unfold's pages move, evaluates the expressions of its attributes; it can only do so where it is
# loaded, and only files of ours that carry the nonce are.
PAGE: Policy = {
    "default-src": [CSP.NONE],
    "script-src": [CSP.NONCE, CSP.UNSAFE_EVAL],
    "style-src": [CSP.SELF, CSP.NONCE],
    "img-src": [CSP.SELF, "data:"],
    "font-src": [CSP.SELF],
    "connect-src": [CSP.SELF],
    "frame-src": [CSP.SELF],
    "manifest-src": [CSP.SELF],
    "base-uri": [CSP.SELF],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
}

# In Unfold's own templates. The test of each is in tests/test_csp.py: an upgrade that changes the place is told there.
CHANGES = {
    # Alpine writes a style given as text into the attribute, which is refused; given as an object it sets properties.
    'x-bind:style="`width: ${sidebarWidth}px`"': "x-bind:style=\"{width: sidebarWidth + 'px'}\"",
    "x-bind:style=\"'width: ' + changeListWidth + 'px'\"": "x-bind:style=\"{width: changeListWidth + 'px'}\"",
    # htmx would write a style sheet of its own into the page, and evaluate attributes.
    "<script src=\"{% static 'unfold/js/htmx/htmx.js' %}\"></script>": (
        '<meta name="htmx-config" content=\'{"includeIndicatorStyles": false, "allowEval": false}\'>'
        "<script src=\"{% static 'unfold/js/htmx/htmx.js' %}\"></script>"
    ),
}
# The scripts and style sheets of forms and pages, which Django writes from Python.
_MEDIA = re.compile(r"\{\{\s*((?:\w+\.)?media)\s*\}\}")
_MEDIA_JS = re.compile(r"\{\{\s*((?:\w+\.)?media)\.js\s*\}\}")
_MEDIA_CSS = re.compile(r"\{\{\s*(?:\w+\.)?media\.css\s*\}\}")
_TAG = re.compile(r"<(script|style)(?=[\s>])(?![^>]*csp_nonce_attr)")


class Loader(app_directories.Loader):
    """The templates of the apps, with a nonce wherever one is needed."""

    def get_contents(self, origin: Origin) -> str:
        return with_nonces(str(super().get_contents(origin)))


def with_nonces(template: str) -> str:
    for before, after in CHANGES.items():
        template = template.replace(before, after)
    template = _TAG.sub(r"<\1 {% csp_nonce_attr %}", template)
    # Where a template writes both parts in two places, the second writes both: style sheets may come late.
    if _MEDIA_JS.search(template):
        template = _MEDIA_CSS.sub("", template)
    template = _MEDIA_JS.sub(r"{% csp_nonce_attr \1 %}", template)
    return _MEDIA.sub(r"{% csp_nonce_attr \1 %}", template)


def page_policy(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: pages get the policy of pages, unless their view has set one; the rest keeps SECURE_CSP."""

    def answer(request: HttpRequest) -> HttpResponse:
        response: Any = get_response(request)
        html = response.headers.get("Content-Type", "").startswith("text/html")
        if html and not 300 <= response.status_code < 400 and not hasattr(response, "_csp_config"):
            response._csp_config = PAGE
        return response  # type: ignore[no-any-return]

    return answer

"""Pages that keep themselves true while something moves, by `relay/static/relay/progress.js`.

What changes is rendered as parts: elements with an `id` of their own, the same ones with the page and for its poll. The
page includes `relay/admin/moving.html` with `poll` (the address that answers with `fragment`) and `moving`.
"""

from collections.abc import Iterable

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

# For the `Media` of the page.
SCRIPT = "relay/progress.js"
STYLE = "relay/progress.css"


def part(name: str, content: str) -> SafeString:
    """`name` is unique on the page; `content` is HTML if it is marked safe, else text."""
    return format_html('<div id="{}">{}</div>', name, content)


def fragment(parts: Iterable[SafeString], *, moving: bool, next_page: str = "") -> str:
    """What a poll is answered; not `moving`: it was the last one. `next_page` is the address to which it leads then."""
    return render_to_string("relay/admin/fragment.html", {"parts": parts, "moving": moving, "next": next_page})

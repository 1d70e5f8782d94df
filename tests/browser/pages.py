"""Which pages there are: every URL of the console with arguments of the rich world, and what they lead to."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from django.contrib import admin
from django.urls import NoReverseMatch, URLPattern, URLResolver, get_resolver, reverse

# No pages: what they answer is a file, a script, a part of a page or a redirect. Each has tests of its own.
NO_PAGES = {
    "logout",
    "autocomplete",
    "jsi18n",
    "script_texts",
    "view_on_site",
    "relay_attachment_download",
    "relay_bulksend_rejects",
    "reports_generatedreport_csv",
    "reports_generatedreport_rejects",
    "reports_generatedreport_progress",
    "reports_generatedreport_list_progress",
    "reports_generatedreport_process_pending",
    "reports_generatedreport_retry",
    "reports_generatedreport_load",
    "dashboard_csv",
    "dashboard_live",
    "relay_activity_export",
    "relay_bulksend_accept_rejects",
    "relay_bulksend_confirm",
    "relay_bulksend_list_progress",
    "relay_bulksend_preview_jump",
    "relay_bulksend_preview_mail",
    "relay_bulksend_preview_test",
    "relay_bulksend_progress",
    "relay_bulksend_results",
    "relay_mailtemplate_check",
    "relay_mailtemplate_discard",
    "relay_mailtemplate_fetch",
    "relay_mailtemplate_finish",
    "relay_mailtemplate_preview",
    "relay_mailtemplate_refresh",
    "relay_mailtemplate_try",
    "relay_preparation_attach",
    "relay_preparation_detach",
    "relay_preparation_progress",
    "relay_preparation_stop",
    "relay_preparation_upload",
}
# Parts that a script puts into a page: their texts are looked at, the rest is the page's.
FRAGMENTS = {"search"}
# Where the keys of objects do not make the arguments, or where there is more to see: paths below /admin/.
SAMPLES = {
    "relay_bulksend_preview": ["relay/bulksend/{pk}/preview/2/", "relay/bulksend/{pk}/preview/3/"],
    "app_list": ["relay/", "reports/", "auth/"],
    "search": ["search/?s=envios", "search/?s=nada-que-exista"],
    "relay_bulksend_changelist": ["relay/bulksend/", "relay/bulksend/?q=cuotas", "relay/bulksend/?q=nada-que-exista"],
    "relay_recipient_changelist": ["relay/recipient/", "relay/recipient/?q=ana@example.com"],
}
# Nobody adds, changes or deletes what the ledger holds, so these refuse even Lucía.
MAY_REFUSE = re.compile(r"_(add|delete|change|history|was_sent|was_not_sent|approve|reject)$")


@dataclass(frozen=True, slots=True)
class Place:
    """A name of the URLs, and paths below the console's address that belong to it."""

    name: str
    paths: tuple[str, ...]


def places(objects: dict[str, list[str]]) -> list[Place]:
    """Every named page; those that need an argument nobody gave have no path, and their test fails."""
    return [
        Place(name, tuple(_paths(name, arguments, objects))) for name, arguments in _patterns() if name not in NO_PAGES
    ]


def _patterns() -> Iterator[tuple[str, list[str]]]:
    seen = set()
    for pattern in _walk(get_resolver().url_patterns):
        if pattern.name and pattern.name != "home" and pattern.name not in seen:
            seen.add(pattern.name)
            yield pattern.name, sorted(pattern.pattern.regex.groupindex)


def _walk(patterns: list[URLPattern | URLResolver]) -> Iterator[URLPattern]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns)
        else:
            yield pattern


def _paths(name: str, arguments: list[str], objects: dict[str, list[str]]) -> Iterator[str]:
    model = next((label for label in objects if name.startswith(label.replace(".", "_") + "_")), None)
    if name in SAMPLES:
        for sample in SAMPLES[name]:
            keys = objects[model] if model and "{pk}" in sample else [""]
            yield from ("/admin/" + sample.replace("{pk}", pk) for pk in keys)
    elif not arguments:
        yield reverse(f"admin:{name}")
    elif model and len(arguments) == 1:
        for pk in objects[model]:
            try:
                yield reverse(f"admin:{name}", args=[pk])
            except NoReverseMatch:
                return


def shape(path: str) -> str:
    """Paths of one shape are one page with other rows in it: keys become 0, of a query only its names count."""
    parts = urlsplit(path)
    names = sorted({name for name, _value in parse_qsl(parts.query, keep_blank_values=True)})
    return re.sub(r"(?<=/)\d+(?=/)", "0", parts.path) + "?" + "&".join(names)


def model_of(name: str) -> str:
    """The part of the console a page belongs to, so that several processes share the walk."""
    for model in admin.site._registry:
        if name.startswith(model._meta.label_lower.replace(".", "_") + "_"):
            return str(model._meta.label_lower)
    return ""

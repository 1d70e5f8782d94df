"""Search and paging over millions of rows without reading or counting them all."""

from functools import cached_property
from typing import Any

from django.contrib.admin import ShowFacets
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.db.models.functions import Lower
from django.http import HttpRequest

from relay.admin.unfolded import ChangeList
from relay.models import BulkSend, Recipient

COUNTED_AT_MOST = 10_000


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than a person pages; beyond, the list is narrowed by a filter or a search."""

    template_name = "relay/admin/pagination_capped.html"

    @cached_property
    def _counted(self) -> int:
        rows = self.object_list
        return rows.order_by()[: COUNTED_AT_MOST + 1].count() if isinstance(rows, QuerySet) else len(rows)

    @cached_property
    def count(self) -> int:
        return min(self._counted, COUNTED_AT_MOST)

    @property
    def capped(self) -> bool:
        return self._counted > COUNTED_AT_MOST


class CappedChangeList(ChangeList):
    """Of a list that is counted only so far."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # Nothing but the page itself says how many there are: it knows where the count stops.
        self.full_result_count = self.result_count


class MillionsOfRows:
    """Mixin: a list that nobody counts, sorts otherwise than an index does, or ticks row by row."""

    sortable_by: Any = ()
    actions: Any = None
    paginator: Any = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_fullwidth = True

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return CappedChangeList


def find_recipients(recipients: QuerySet[Recipient], term: str) -> QuerySet[Recipient]:
    """By row when the term is a number, else by how the address begins; both by an index."""
    term = term.strip()
    if term.isdecimal():
        return _by_row(recipients, term)
    return _by_address(recipients, term)


def _by_row(recipients: QuerySet[Recipient], term: str) -> QuerySet[Recipient]:
    if len(term) > 9:
        return recipients.none()  # no file has such a row, and no column holds the number
    # The index begins with the bulk send: naming them all makes it usable for the row alone.
    return recipients.filter(bulk_send__in=BulkSend.objects.order_by().values("pk"), row=int(term))


def _by_address(recipients: QuerySet[Recipient], term: str) -> QuerySet[Recipient]:
    """LIKE alone cannot use a plain index (PostgreSQL outside the C collation, SQLite with ESCAPE); a range can."""
    prefix = term.lower()
    first, after = address_range(prefix)
    recipients = recipients.alias(address=Lower("email")).filter(address__gte=first, address__startswith=prefix)
    return recipients.filter(address__lt=after) if after else recipients


def address_range(prefix: str) -> tuple[str, str]:
    """The half-open range of the index in which all that begins with `prefix` lies; an empty end is open.

    The end follows on the last letter or digit, because collations agree on the order of those alone: what is
    behind it is left out, and LIKE picks from the somewhat longer range.
    """
    stem = prefix
    while stem and not (stem[-1].isascii() and stem[-1].isalnum() and stem[-1] != "z"):
        stem = stem[:-1]
    if not stem:
        return prefix, ""
    following = "a" if stem[-1] == "9" else chr(ord(stem[-1]) + 1)
    return prefix, stem[:-1] + following

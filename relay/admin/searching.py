"""Search and paging over millions of rows without reading or counting them all."""

from functools import cached_property
from typing import Any

from django.contrib.admin import ShowFacets
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

from relay.admin.unfolded import ChangeList
from relay.finding import LONGEST_ROW_NUMBER, addresses_that_begin
from relay.models import BulkSend, Recipient

COUNTED_AT_MOST = 10_000


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than a person pages; beyond, the list is narrowed by a filter or a search."""

    template_name = "relay/admin/pagination_capped.html"

    @cached_property
    def _counted(self) -> int:
        rows = self.object_list
        # In the order of the page, which has an index: without it PostgreSQL looks for some anywhere.
        return rows[: COUNTED_AT_MOST + 1].count() if isinstance(rows, QuerySet) else len(rows)

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
    return addresses_that_begin(recipients, term)


def _by_row(recipients: QuerySet[Recipient], term: str) -> QuerySet[Recipient]:
    if len(term) > LONGEST_ROW_NUMBER:
        return recipients.none()  # no file has such a row, and no column holds the number
    # The index begins with the bulk send: naming them all makes it usable for the row alone.
    return recipients.filter(bulk_send__in=BulkSend.objects.order_by().values("pk"), row=int(term))

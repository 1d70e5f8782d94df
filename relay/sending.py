"""The engine: sends what a bulk send has to send now; any number of processes may drain one bulk send together.

`relay.calling` makes the calls. Here stands what comes before and after them: the template is compared, suppressed
addresses are taken out, other workers are waited for, the first slice is judged, the bulk send is concluded.
"""

import asyncio
import time

from django.conf import settings
from django.utils.translation import gettext as _

from relay import approving, ledger, pacing, reasons, rendering, stages, whole_sends
from relay.account import open_relay
from relay.books import Books
from relay.calling import LOOK_SECONDS, Course, Progress, Tally, Worker
from relay.composing import Composer
from relay.explained import Explained
from relay.halts import Halt, halt_for
from relay.lease_alarm import LeaseAlarm
from relay.lost_workers import take_over_expired
from relay.models import BulkSend
from relay.orders import read_orders
from relay_client import RelayClient, RelayError, RelayMisconfigured, RelayNotFound, RelayRejected


class RelayOutOfReach(Explained):
    """The relay could not be reached for about a minute; what is left is `pending`, and a later run goes on."""

    def __str__(self) -> str:
        return _("The relay at %(url)s cannot be reached, or asks to wait. Nothing is lost: a later run goes on.") % {
            "url": settings.DOPPLER_RELAY_BASE_URL
        }


async def drain(
    bulk_send_id: int,
    *,
    stop: asyncio.Event,
    progress: Progress | None = None,
    for_seconds: float | None = None,
    course: Course | None = None,
) -> Tally:
    """Sends until nothing is left to send now, `stop` is set, or somebody stops the bulk send.

    Without `for_seconds` delays up to a minute and other workers are waited out. With it this ends after so long, or
    as soon as there is nothing to do: the tally says whether `more` can go now, or in how many seconds (`waits`); and
    `course` is what the caller keeps from one stretch to the next.

    Raises RelayOutOfReach when the relay cannot be reached (what is left stays `pending`) and LeaseLost when this
    process was out of touch for longer than its lease. An answer about account or template raises nothing: it puts
    the bulk send into `error` or `paused`, which is where its reason stands.
    """
    async with Books() as books, open_relay() as client:
        drained = _Drain(bulk_send_id, books, client, stop, progress, for_seconds, course or Course())
        return await drained.run()


class _Drain:
    def __init__(
        self,
        bulk_send_id: int,
        books: Books,
        client: RelayClient,
        stop: asyncio.Event,
        progress: Progress | None,
        for_seconds: float | None,
        course: Course,
    ) -> None:
        self.id = bulk_send_id
        self.books = books
        self.client = client
        self.stop = stop
        self.progress = progress
        self.course = course
        self.deadline = float("inf") if for_seconds is None else time.monotonic() + for_seconds
        self.patient = for_seconds is None
        self.tally = Tally()

    async def run(self) -> Tally:
        bulk_send = await self.books(BulkSend.objects.get, pk=self.id)
        halt = await self._what_forbids(bulk_send)
        if halt is not None:
            await self.books(halt.apply, self.id)
            return self.tally
        await self.books(whole_sends.exclude_suppressed, self.id)
        try:
            composer = await self.books(_ready_composer, bulk_send)
        except OSError:
            await self.books(Halt(reasons.ATTACHMENT_MISSING, {}).apply, self.id)
            return self.tally
        with LeaseAlarm(self.client.stop_writing) as alarm:
            while True:
                await self._work(composer, alarm)
                if self.tally.more or not await self._something_is_left():
                    break
        if not self.tally.more:
            await self.books(stages.conclude, self.id)
        return self.tally

    async def _what_forbids(self, bulk_send: BulkSend) -> Halt | None:
        orders = await self.books(read_orders, self.id)
        if orders.rest is not None:
            return orders.rest
        if problem := await _template_problem(bulk_send, self.client, self.books):
            return problem
        # Last: the template that goes out may just have become another one than that which was approved.
        return Halt(reasons.APPROVAL, {}) if await self.books(approving.is_missing, bulk_send) else None

    async def _work(self, composer: Composer, alarm: LeaseAlarm) -> None:
        worker = Worker(
            lease=await self.books(ledger.acquire, self.id),
            composer=composer,
            client=self.client,
            books=self.books,
            alarm=alarm,
            course=self.course,
            stop=self.stop,
            progress=self._so_far if self.progress else None,
            deadline=self.deadline,
            patience=pacing.LONGEST_WAIT if self.patient else 0.0,
        )
        self.tally += await worker.run()
        if worker.breaker.given_up:
            raise RelayOutOfReach

    def _so_far(self, tally: Tally, in_flight: int) -> None:
        """Progress of all workers of this drain together."""
        if self.progress:
            self.progress(self.tally + tally, in_flight)

    async def _something_is_left(self) -> bool:
        """Waits for the other workers on this bulk send; True when there are rows that can go now.

        One that died is waited for until its lease has run out, so that no row is `sending` when nobody sends any more.
        """
        while not self.stop.is_set():
            self.tally.unknown += await self.books(take_over_expired)
            match await self.books(stages.left_by_others, self.id):
                case stages.Left.ROWS:
                    await asyncio.sleep(LOOK_SECONDS)  # others may have them locked: no hurry
                    return True
                case stages.Left.NOTHING:
                    return await self.books(stages.judge_first_slice, self.id)
            if not self.patient:
                self.tally.waits = min(self.tally.waits or 4 * LOOK_SECONDS, 4 * LOOK_SECONDS)
                return False
            await asyncio.sleep(4 * LOOK_SECONDS)
        return False


def _ready_composer(bulk_send: BulkSend) -> Composer:
    composer = Composer(bulk_send)
    composer.read_attachments()
    return composer


async def _template_problem(bulk_send: BulkSend, client: RelayClient, books: Books) -> Halt | None:
    """The relay renders the template it has now. What it needs of a row must be what the rows were checked for."""
    if bulk_send.subject:
        return None  # rendered here, from the template as it was checked
    try:
        template = await client.get_template(bulk_send.template_id)
        body = await client.get_template_body(template)
    except (RelayMisconfigured, RelayNotFound) as error:
        return halt_for(error)
    except RelayRejected as error:
        return Halt(reasons.TEMPLATE_UNREADABLE, {"code": error.code or str(error.status)})
    except RelayError as error:
        raise RelayOutOfReach from error
    if not _same_needs(bulk_send, template.subject, body.html):
        return Halt(reasons.TEMPLATE_CHANGED, {})
    await books(bulk_send.adopt_template, subject=template.subject, html=body.html)
    return None


def _same_needs(bulk_send: BulkSend, subject: str, html: str) -> bool:
    if (subject, html) == (bulk_send.template_subject, bulk_send.template_html):
        return True
    checked = rendering.compile_template(bulk_send.template_subject, bulk_send.template_html)
    try:
        current = rendering.compile_template(subject, html)
    except rendering.TemplateProblem:
        return False
    return current.needs_signature == checked.needs_signature

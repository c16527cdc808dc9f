"""The outbox: events decided together with a state, published until the broker has confirmed them.

A `Relay` in each API process publishes soon after the state is written. What it could not publish (broker
away, process killed) the worker's sweep finds and publishes, with the same id: consumers drop the second.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from app.clock import utcnow
from app.messaging.publisher import OutgoingEvent
from app.models import Transaction, storage_errors
from app.telemetry import tracing
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from app.messaging.publisher import Publisher

log = get_logger(__name__)

#: Seconds between two answers to the broker's heartbeats while nothing is published.
_KEEP_ALIVE = 5.0

#: Seconds in which events gather that are then published together: group commit. One event alone costs three
#: round trips, and those of a busy process in one go hardly more. Nobody sees a mail come a tenth later.
_GATHER = 0.1

#: At most so many together.
_TOGETHER = 100

#: Transactions published by one sweep.
_BATCH = 500

#: A look at a large backlog must stay cheap.
_MOST_COUNTED = 10_000

#: A range finds what is set by its sparse index.
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class _Waiting:
    """An entry of an outbox, and where it is."""

    booking_id: str
    transaction_id: str
    event: OutgoingEvent
    created_at: datetime


def publish_bookings(publisher: Publisher, booking_ids: Collection[str]) -> dict[str, str]:
    """Publish everything that the payments of some bookings have to announce, in the order it happened.

    Whoever publishes begins with the oldest of each booking: an event that was left behind, by a process that
    died or a broker that was away, is never overtaken by a later one of its booking. Two who publish at the
    same time, or one who dies between publishing and taking out of the outbox, publish twice, with the same
    event id.

    Returns:
        Booking → why the broker does not have all its events; what is left stays in the outbox.
    """
    unsent = {"booking_id": {"$in": list(booking_ids)}, "outbox_since": {"$ne": None}}
    waiting = [
        _Waiting(
            payment["booking_id"],
            payment["_id"],
            OutgoingEvent(entry["event_id"], entry["event_type"], entry["body"], entry.get("traceparent")),
            entry["created_at"],
        )
        for payment in Transaction.find(unsent, "booking_id", "outbox")
        for entry in payment["outbox"]
    ]
    waiting.sort(key=lambda entry: entry.created_at)
    lost: dict[str, str] = {}
    while waiting:
        # What follows in a booking is only sent once the broker has what came before.
        oldest: dict[str, _Waiting] = {}
        for entry in waiting:
            oldest.setdefault(entry.booking_id, entry)
        refused = _publish(publisher, list(oldest.values()))
        lost |= {
            booking_id: refused[entry.event.event_id]
            for booking_id, entry in oldest.items()
            if entry.event.event_id in refused
        }
        _take_out([entry for booking_id, entry in oldest.items() if booking_id not in lost])
        waiting = [
            entry
            for entry in waiting
            if entry.booking_id not in lost and entry is not oldest[entry.booking_id]
        ]
    return lost


def _publish(publisher: Publisher, entries: Sequence[_Waiting]) -> dict[str, str]:
    """Publish entries, each in the trace that it was decided in; see `Publisher.publish_all`."""
    events = []
    with ExitStack() as spans:
        for entry in entries:
            ids = {
                "messaging.message.id": entry.event.event_id,
                "movieapp.transaction_id": entry.transaction_id,
            }
            spans.enter_context(
                tracing.span(
                    f"publish {entry.event.event_type}",
                    ids,
                    kind="producer",
                    parent=entry.event.traceparent or "",
                )
            )
            events.append(replace(entry.event, traceparent=tracing.traceparent() or entry.event.traceparent))
        return publisher.publish_all(events)


def _take_out(entries: Sequence[_Waiting]) -> None:
    """Take out of the outboxes what the broker has; it may have been taken out by somebody else."""
    if not entries:
        return
    event_ids = [entry.event.event_id for entry in entries]
    outboxes = Transaction.objects(id__in=[entry.transaction_id for entry in entries])
    alone = outboxes.filter(outbox__size=1, outbox__0__event_id__in=event_ids)
    if alone.update(set__outbox=[], unset__outbox_since=True) < len(entries):
        # Another event was there, or has come meanwhile; whoever takes the last says that it was the last.
        outboxes.update(pull__outbox__event_id__in=event_ids)
        outboxes.filter(outbox=[], outbox_since__ne=None).update(unset__outbox_since=True)
    for entry in entries:
        log.debug(
            "event published",
            event_id=entry.event.event_id,
            event_type=entry.event.event_type,
            transaction_id=entry.transaction_id,
            booking_id=entry.booking_id,
        )


def sweep(publisher: Publisher, older_than: timedelta) -> int:
    """Publish what has waited in outboxes for longer than `older_than`, oldest first.

    Returns:
        How many transactions had something to announce, and the broker has it now.
    """
    due = Transaction.objects(outbox_since__lt=utcnow() - older_than).order_by("outbox_since")
    bookings = []
    for transaction in due.only("id", "booking_id", "outbox_since").limit(_BATCH):
        # Of several sweeps only one gets each transaction; the others would publish it once more.
        seen = Transaction.objects(id=transaction.id, outbox_since=transaction.outbox_since)
        if seen.update_one(set__outbox_since=utcnow()):
            bookings.append(transaction.booking_id)
    lost = publish_bookings(publisher, set(bookings)) if bookings else {}
    _tell(lost, "outbox waits for the broker")
    return sum(booking_id not in lost for booking_id in bookings)


def _tell(lost: Mapping[str, str], message: str) -> None:
    """One line, however many wait."""
    for booking_id, reason in islice(lost.items(), 1):
        log.warning(message, booking_id=booking_id, reason=reason, count=len(lost))


def backlog() -> tuple[int, datetime | None]:
    """How many transactions have something to announce (10 000 at most), and since when the first waits.

    Raises:
        ServiceUnavailable: MongoDB did not answer.
    """
    with storage_errors():
        waiting = Transaction.objects(outbox_since__gt=_LONG_AGO).order_by("outbox_since")
        oldest = waiting.only("outbox_since").first()
        return (waiting.limit(_MOST_COUNTED).count(True), oldest.outbox_since) if oldest else (0, None)


class Relay:
    """Publishes in a thread of its own, which alone owns the broker connection.

    The request that made an event never waits for the broker, and the connection's heartbeats are answered
    while there is nothing to do. The thread starts with the first event: after gunicorn's fork.

    Args:
        make_publisher: called in the thread, once.
    """

    def __init__(self, make_publisher: Callable[[], Publisher]) -> None:
        self._make_publisher = make_publisher
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, booking_id: str) -> None:
        """Publish soon what is in the outbox for a booking. Returns at once and never fails."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outbox-relay", daemon=True)
                self._thread.start()
        self._queue.put(booking_id)

    def close(self, timeout: float = 5.0) -> None:
        """Publish what was submitted and stop; give up after `timeout` seconds and leave it to the sweep."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(timeout)

    def _run(self) -> None:
        publisher = self._make_publisher()
        try:
            more = True
            while more:
                try:
                    submitted = [self._queue.get(timeout=_KEEP_ALIVE)]
                except queue.Empty:
                    publisher.keep_alive()
                    continue
                time.sleep(_GATHER)
                while len(submitted) < _TOGETHER and not self._queue.empty():
                    submitted.append(self._queue.get())
                more = None not in submitted
                self._publish(publisher, {booking_id for booking_id in submitted if booking_id})
        finally:
            publisher.close()

    @staticmethod
    def _publish(publisher: Publisher, booking_ids: Collection[str]) -> None:
        try:
            lost = publish_bookings(publisher, booking_ids)
        except Exception as error:  # the thread must outlive every failure; the sweep takes over
            lost = dict.fromkeys(booking_ids, f"{type(error).__name__}: {error}")
        _tell(lost, "events left to the outbox sweep")

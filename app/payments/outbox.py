"""The outbox: events decided together with a change, published until the broker has confirmed them.

Every process that changes payments, and every worker, runs a `Relay`. It publishes what its process submits
soon after the change is stored, and every few seconds what others left behind (broker unavailable, process
killed), with the same event id: consumers drop the second.
"""

from __future__ import annotations

import queue
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

from app.clock import utcnow
from app.messaging.publisher import OutgoingEvent
from app.payments.ledger.mongo import MongoLedger
from app.telemetry import tracing
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from app.messaging.publisher import Publisher
    from app.payments.ledger import Ledger, Unpublished

log = get_logger(__name__)

#: Seconds between two looks for events that others left behind.
SWEEP_INTERVAL_SECONDS = 2.0

#: How long the process that made an event has to publish it, before others do.
GRACE = timedelta(seconds=3)

#: How long a sweep has the events it claimed to itself.
_CLAIM = timedelta(seconds=10)

#: Payments whose events one sweep claims.
_SWEEP_SIZE = 500

#: Seconds in which events gather that are then published together: group commit. One event alone costs three
#: round trips, and those of a busy process together hardly more. Nobody sees a mail come a tenth later.
_GATHER_SECONDS = 0.1

#: Bookings published together, at most.
_MAX_TOGETHER = 100


def publish_bookings(ledger: Ledger, publisher: Publisher, booking_ids: Collection[str]) -> dict[str, str]:
    """Publish everything that the payments of some bookings have to announce, in the order it happened.

    Every publisher begins with the oldest event of each booking: one that was left behind, by a process that
    died or an unavailable broker, is never overtaken by a later one of its booking. Two that publish at the
    same time, or one that dies between publishing and taking out of the outbox, publish twice, with the same
    event id.

    Returns:
        Booking → why the broker does not have all its events; what is left stays in the outbox.
    """
    waiting = ledger.unpublished(booking_ids)
    lost: dict[str, str] = {}
    while waiting:
        # What follows in a booking is only sent once the broker has what came before.
        oldest: dict[str, Unpublished] = {}
        for entry in waiting:
            oldest.setdefault(entry.booking_id, entry)
        refused = _publish(publisher, list(oldest.values()))
        lost |= {
            booking_id: refused[entry.event.event_id]
            for booking_id, entry in oldest.items()
            if entry.event.event_id in refused
        }
        _take_out(ledger, [entry for booking_id, entry in oldest.items() if booking_id not in lost])
        waiting = [
            entry
            for entry in waiting
            if entry.booking_id not in lost and entry is not oldest[entry.booking_id]
        ]
    return lost


def _publish(publisher: Publisher, entries: Sequence[Unpublished]) -> dict[str, str]:
    """Publish entries, each in the trace that it was decided in; see `Publisher.publish_all`."""
    events = []
    with ExitStack() as spans:
        for entry in entries:
            event = OutgoingEvent(
                entry.event.event_id, entry.event.event_type, entry.event.body, entry.event.traceparent
            )
            ids = {
                "messaging.message.id": event.event_id,
                "movieapp.transaction_id": entry.transaction_id,
            }
            spans.enter_context(
                tracing.span(
                    f"publish {event.event_type}", ids, kind="producer", parent=event.traceparent or ""
                )
            )
            events.append(replace(event, traceparent=tracing.traceparent() or event.traceparent))
        return publisher.publish_all(events)


def _take_out(ledger: Ledger, entries: Sequence[Unpublished]) -> None:
    if not entries:
        return
    ledger.take_out(entries)
    for entry in entries:
        log.debug(
            "event published",
            event_id=entry.event.event_id,
            event_type=entry.event.event_type,
            transaction_id=entry.transaction_id,
            booking_id=entry.booking_id,
        )


def sweep(ledger: Ledger, publisher: Publisher, older_than: timedelta = GRACE) -> int:
    """Publish what has waited in outboxes for longer than `older_than`, oldest first.

    Returns:
        How many bookings had something to announce, and the broker has it now.
    """
    now = utcnow()
    bookings = ledger.claim_unpublished(now - older_than, now, now + _CLAIM, _SWEEP_SIZE)
    lost = publish_bookings(ledger, publisher, bookings) if bookings else {}
    _warn(lost, "outbox waits for the broker")
    return len(bookings) - len(lost)


def _warn(lost: Mapping[str, str], message: str) -> None:
    """One line, however many wait."""
    for booking_id, reason in islice(lost.items(), 1):
        log.warning(message, booking_id=booking_id, reason=reason, count=len(lost))


def backlog() -> tuple[int, datetime | None]:
    """How many payments have an event to publish (`MAX_COUNTED` at most), and since when the oldest waits.

    Raises:
        ServiceUnavailable: the database did not answer.
    """
    return MongoLedger().backlog()


class Relay:
    """Publishes in a separate thread, which alone owns the broker connection.

    The request that made an event never waits for the broker, and the connection's heartbeats are answered
    while there is nothing to do. The thread starts with the first event, after gunicorn's fork, or with
    `start`.

    Args:
        ledger: holds the outboxes.
        make_publisher: called in the thread, once.
    """

    def __init__(self, ledger: Ledger, make_publisher: Callable[[], Publisher]) -> None:
        self._ledger = ledger
        self._make_publisher = make_publisher
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start to publish what others left behind."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outbox-relay", daemon=True)
                self._thread.start()

    def submit(self, booking_id: str) -> None:
        """Publish soon what is in the outbox for a booking. Returns at once and never fails."""
        self.start()
        self._queue.put(booking_id)

    def close(self, timeout: float = 5.0) -> None:
        """Publish what was submitted and stop; after `timeout` seconds it is left to another relay."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(timeout)

    def _run(self) -> None:
        publisher = self._make_publisher()
        sweep_at = time.monotonic() + SWEEP_INTERVAL_SECONDS
        try:
            more = True
            while more:
                submitted = self._gather(sweep_at - time.monotonic())
                more = None not in submitted
                self._publish(publisher, {booking_id for booking_id in submitted if booking_id})
                if more and time.monotonic() >= sweep_at:
                    self._sweep(publisher)
                    publisher.keep_alive()
                    sweep_at = time.monotonic() + SWEEP_INTERVAL_SECONDS
        finally:
            publisher.close()

    def _gather(self, timeout: float) -> list[str | None]:
        """What was submitted, once something is and a moment has passed for more; empty after `timeout`."""
        try:
            submitted = [self._queue.get(timeout=max(0.0, timeout))]
        except queue.Empty:
            return []
        time.sleep(_GATHER_SECONDS)
        while len(submitted) < _MAX_TOGETHER and not self._queue.empty():
            submitted.append(self._queue.get())
        return submitted

    def _publish(self, publisher: Publisher, booking_ids: Collection[str]) -> None:
        if not booking_ids:
            return
        try:
            lost = publish_bookings(self._ledger, publisher, booking_ids)
        except Exception as error:  # the thread must outlive every failure; a sweep will find the events
            lost = dict.fromkeys(booking_ids, f"{type(error).__name__}: {error}")
        _warn(lost, "events left to the outbox sweep")

    def _sweep(self, publisher: Publisher) -> None:
        try:
            sweep(self._ledger, publisher)
        except Exception as error:  # the thread must outlive every failure
            log.warning("sweep failed", sweep="outbox", reason=f"{type(error).__name__}: {error}")

"""The outbox: events are stored with the change that causes them, and published until the broker confirms
them.

Every process that changes payments, and every worker, runs a `Relay`. The relay publishes submitted events
soon after the change is stored. Every few seconds it publishes events that other processes left behind
(broker down, process killed). A repeated event has the same event id, so consumers drop the second.
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

#: Seconds between two sweeps for events that other processes left behind.
SWEEP_INTERVAL_SECONDS = 2.0

#: Age after which other processes publish an event.
GRACE = timedelta(seconds=3)

#: How long a sweep's claim on events lasts.
_CLAIM = timedelta(seconds=10)

#: Maximum number of payments whose events one sweep claims.
_SWEEP_SIZE = 200

#: Seconds during which events are collected and then published together (group commit). A batch takes hardly
#: more than the three round trips of a single event, and the delay is too short to notice.
_GATHER_SECONDS = 0.1

#: Maximum number of bookings in a batch.
_MAX_TOGETHER = 100


def publish_bookings(ledger: Ledger, publisher: Publisher, booking_ids: Collection[str]) -> dict[str, str]:
    """Publish all events in the outboxes of some bookings, in order.

    Every publisher starts with the oldest event of each booking, so a later event never overtakes one that
    was left behind. Two concurrent publishers, or one that dies before it removes an event from the outbox,
    publish an event twice, with the same event id.

    Returns:
        Booking → the error, if some of its events stay in the outbox.
    """
    waiting = ledger.unpublished(booking_ids)
    lost: dict[str, str] = {}
    while waiting:
        # A later event of a booking is sent only after the broker has confirmed the earlier ones.
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
    """Publish entries, each in the trace that caused it; see `Publisher.publish_all`."""
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
    """Publish events that have waited in outboxes for longer than `older_than`, oldest first.

    Returns:
        The number of bookings whose events the broker confirmed.
    """
    now = utcnow()
    bookings = ledger.claim_unpublished(now - older_than, now, now + _CLAIM, _SWEEP_SIZE)
    lost = publish_bookings(ledger, publisher, bookings) if bookings else {}
    _warn(lost, "outbox waits for the broker")
    return len(bookings) - len(lost)


def _warn(lost: Mapping[str, str], message: str) -> None:
    """Log one warning, however many events wait."""
    for booking_id, reason in islice(lost.items(), 1):
        log.warning(message, booking_id=booking_id, reason=reason, count=len(lost))


def backlog() -> tuple[int, datetime | None]:
    """Return the number of payments with an unpublished event, at most `MAX_COUNTED`, and the oldest event's
    time.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    return MongoLedger().backlog()


class Relay:
    """Publishes the outbox in a thread that owns the broker connection.

    Requests never wait for the broker, and the thread responds to heartbeats while it is idle. The thread
    starts with the first event, after gunicorn's fork, or with `start`.

    Args:
        ledger: has the outboxes.
        make_publisher: called in the thread, once.
    """

    def __init__(self, ledger: Ledger, make_publisher: Callable[[], Publisher]) -> None:
        self._ledger = ledger
        self._make_publisher = make_publisher
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, to publish events that others left behind."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outbox-relay", daemon=True)
                self._thread.start()

    def submit(self, booking_id: str) -> None:
        """Schedule a booking's outbox for publishing. Returns immediately and never raises."""
        self.start()
        self._queue.put(booking_id)

    def close(self, timeout: float = 5.0) -> None:
        """Publish submitted events and stop. After `timeout` seconds, leave the rest to another relay."""
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
                    is_backlog = self._sweep(publisher)
                    publisher.keep_alive()
                    # What is submitted meanwhile takes turns with a backlog.
                    sweep_at = time.monotonic() + (0 if is_backlog else SWEEP_INTERVAL_SECONDS)
        finally:
            publisher.close()

    def _gather(self, timeout: float) -> list[str | None]:
        """Return a batch of submitted bookings: wait for the first, then briefly for more. Empty after
        `timeout`."""
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
        except Exception as error:  # the thread must survive every failure; a sweep will find the events
            lost = dict.fromkeys(booking_ids, f"{type(error).__name__}: {error}")
        _warn(lost, "events left to the outbox sweep")

    def _sweep(self, publisher: Publisher) -> bool:
        """Sweep once. Return whether to sweep again immediately."""
        try:
            return sweep(self._ledger, publisher) > 0
        except Exception as error:  # the thread must survive every failure
            log.warning("sweep failed", sweep="outbox", reason=f"{type(error).__name__}: {error}")
            return False

"""The outbox: events decided together with a state, published until the broker has confirmed them.

A `Relay` in each API process publishes right after the state is written. What it could not publish (broker
away, process killed) the worker's sweep finds and publishes, with the same id: consumers drop the second.
"""

from __future__ import annotations

import queue
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from app.clock import utcnow
from app.messaging.publisher import OutgoingEvent, PublishError
from app.models import OutboxEntry, Transaction, storage_errors
from app.telemetry import tracing
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.messaging.publisher import Publisher

log = get_logger(__name__)

#: Seconds between two answers to the broker's heartbeats while nothing is published.
_KEEP_ALIVE = 5.0

#: Transactions published by one sweep.
_BATCH = 500

#: A look at a large backlog must stay cheap.
_MOST_COUNTED = 10_000

#: A range finds what is set by its sparse index.
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def publish_booking(publisher: Publisher, booking_id: str) -> int:
    """Publish everything that the payments of a booking have to announce, in the order it happened.

    Whoever publishes begins with the oldest: an event that was left behind, by a process that died or a
    broker that was away, is never overtaken by a later one of its booking. Two who publish at the same time,
    or one who dies between publishing and taking out of the outbox, publish twice, with the same event id.

    Returns:
        How many events were published.

    Raises:
        PublishError: the broker did not confirm; what is left stays in the outbox.
    """
    waiting = Transaction.objects(booking_id=booking_id, outbox_since__ne=None).only("id", "outbox")
    entries = [(payment.id, entry) for payment in waiting for entry in payment.outbox]
    for transaction_id, entry in sorted(entries, key=lambda item: item[1].created_at):
        with tracing.span(
            f"publish {entry.event_type}",
            {"messaging.message.id": entry.event_id, "movieapp.transaction_id": transaction_id},
            kind="producer",
            parent=entry.traceparent or "",
        ):
            trace = tracing.traceparent() or entry.traceparent
            publisher.publish(OutgoingEvent(entry.event_id, entry.event_type, entry.body, trace))
            _take_out(transaction_id, entry)
            log.debug(
                "event published",
                event_id=entry.event_id,
                event_type=entry.event_type,
                transaction_id=transaction_id,
                booking_id=booking_id,
            )
    return len(entries)


def _take_out(transaction_id: str, entry: OutboxEntry) -> None:
    transaction = Transaction.objects(id=transaction_id)
    last = transaction.filter(outbox__size=1, outbox__0__event_id=entry.event_id)
    if not last.update_one(set__outbox=[], unset__outbox_since=True):
        transaction.update_one(pull__outbox__event_id=entry.event_id)


def sweep(publisher: Publisher, older_than: timedelta) -> int:
    """Publish what has waited in outboxes for longer than `older_than`, oldest first.

    Returns:
        How many events were published. Stops at the first that the broker does not take.
    """
    due = Transaction.objects(outbox_since__lt=utcnow() - older_than).order_by("outbox_since")
    published = 0
    for transaction in due.only("id", "booking_id", "outbox_since").limit(_BATCH):
        # Of several sweeps only one gets each transaction; the others would publish it once more.
        seen = Transaction.objects(id=transaction.id, outbox_since=transaction.outbox_since)
        if not seen.update_one(set__outbox_since=utcnow()):
            continue
        try:
            published += publish_booking(publisher, transaction.booking_id)
        except PublishError as error:
            log.warning("outbox waits for the broker", reason=str(error))
            break
    return published


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
            while True:
                try:
                    booking_id = self._queue.get(timeout=_KEEP_ALIVE)
                except queue.Empty:
                    publisher.keep_alive()
                    continue
                if booking_id is None:
                    return
                self._publish(publisher, booking_id)
        finally:
            publisher.close()

    @staticmethod
    def _publish(publisher: Publisher, booking_id: str) -> None:
        try:
            publish_booking(publisher, booking_id)
        except Exception as error:  # the thread must outlive every failure; the sweep takes over
            log.warning(
                "events left to the outbox sweep",
                booking_id=booking_id,
                reason=f"{type(error).__name__}: {error}",
            )

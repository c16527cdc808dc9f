"""The outbox: events decided together with a state, published until the broker has confirmed them.

A `Relay` in each API process publishes right after the state is written. What it could not publish (broker
away, process killed) the worker's sweep finds and publishes, with the same id: consumers drop the second.
"""

from __future__ import annotations

import queue
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from app.clock import utcnow
from app.messaging.publisher import OutgoingEvent, PublishError
from app.models import OutboxEntry, Transaction
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.messaging.publisher import Publisher

log = get_logger(__name__)

#: Seconds between two answers to the broker's heartbeats while nothing is published.
_KEEP_ALIVE = 5.0

#: Transactions published by one sweep.
_BATCH = 500


def publish_entry(publisher: Publisher, transaction_id: str, entry: OutboxEntry) -> None:
    """Publish one entry and take it out of its transaction's outbox.

    Dying between the two publishes it again later, with the same event id.

    Raises:
        PublishError: the broker did not confirm; the entry stays.
    """
    publisher.publish(OutgoingEvent(entry.event_id, entry.event_type, entry.body))
    transaction = Transaction.objects(id=transaction_id)
    last = transaction.filter(outbox__size=1, outbox__0__event_id=entry.event_id)
    if not last.update_one(set__outbox=[], unset__outbox_since=True):
        transaction.update_one(pull__outbox__event_id=entry.event_id)
    log.info(
        "event published",
        event_id=entry.event_id,
        event_type=entry.event_type,
        transaction_id=transaction_id,
    )


def sweep(publisher: Publisher, older_than: timedelta) -> int:
    """Publish what has waited in outboxes for longer than `older_than`, oldest first.

    Returns:
        How many events were published. Stops at the first that the broker does not take.
    """
    due = Transaction.objects(outbox_since__lt=utcnow() - older_than).order_by("outbox_since")
    published = 0
    for transaction in due.only("id", "outbox", "outbox_since").limit(_BATCH):
        # Of several sweeps only one gets each transaction; the others would publish it once more.
        seen = Transaction.objects(id=transaction.id, outbox_since=transaction.outbox_since)
        if not seen.update_one(set__outbox_since=utcnow()):
            continue
        for entry in transaction.outbox:
            try:
                publish_entry(publisher, transaction.id, entry)
            except PublishError as error:
                log.warning("outbox waits for the broker", reason=str(error))
                return published
            published += 1
    return published


class Relay:
    """Publishes in a thread of its own, which alone owns the broker connection.

    The request that made an event never waits for the broker, and the connection's heartbeats are answered
    while there is nothing to do. The thread starts with the first event: after gunicorn's fork.

    Args:
        make_publisher: called in the thread, once.
    """

    def __init__(self, make_publisher: Callable[[], Publisher]) -> None:
        self._make_publisher = make_publisher
        self._queue: queue.SimpleQueue[tuple[str, OutboxEntry] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, transaction_id: str, entry: OutboxEntry) -> None:
        """Publish `entry` soon. Returns at once and never fails."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outbox-relay", daemon=True)
                self._thread.start()
        self._queue.put((transaction_id, entry))

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
                    item = self._queue.get(timeout=_KEEP_ALIVE)
                except queue.Empty:
                    publisher.keep_alive()
                    continue
                if item is None:
                    return
                self._publish(publisher, *item)
        finally:
            publisher.close()

    @staticmethod
    def _publish(publisher: Publisher, transaction_id: str, entry: OutboxEntry) -> None:
        try:
            publish_entry(publisher, transaction_id, entry)
        except Exception as error:  # the thread must outlive every failure; the sweep takes over
            log.warning(
                "event left to the outbox sweep",
                event_id=entry.event_id,
                transaction_id=transaction_id,
                reason=f"{type(error).__name__}: {error}",
            )

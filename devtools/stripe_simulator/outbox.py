"""Events on their way: kept until they are delivered, also over a restart."""

from __future__ import annotations

import time
from dataclasses import dataclass

from devtools.stripe_simulator.store import Record, Store

#: Seconds before the second try; doubled for each further one.
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 30.0

#: Then it is given up, after about half an hour; Stripe goes on for days.
_MOST_ATTEMPTS = 64

#: Seconds that a thread has for a try before another may take it up: more than a try can last.
_LEASE = 60.0


@dataclass(frozen=True)
class Delivery:
    """One try to deliver an event; `attempt` counts from 1."""

    event: Record
    attempt: int


def pause(attempt: int) -> float:
    """Seconds to wait after the failed try number `attempt`."""
    return float(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (attempt - 1)))


class Outbox:
    """The events that are to be delivered. Times are real ones: the simulator's clock may jump."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # What the last process had in hand is due at once.
        store.execute("UPDATE deliveries SET due = 0 WHERE due IS NOT NULL")

    def add(self, event_id: str) -> None:
        """Deliver an event soon."""
        with self._store.transaction():
            self._store.execute("INSERT OR REPLACE INTO deliveries VALUES (?, 0, 0)", (event_id,))
            self._mark(event_id, 1)

    def take(self) -> Delivery | None:
        """An event that is due, leased to the caller."""
        now = time.time()
        with self._store.transaction():
            rows = self._store.execute(
                "UPDATE deliveries SET attempts = attempts + 1, due = ? WHERE event ="
                " (SELECT event FROM deliveries WHERE due <= ? ORDER BY due, rowid LIMIT 1)"
                " RETURNING event, attempts",
                (now + _LEASE, now),
            )
            for event_id, attempt in rows:
                event = self._store.get(event_id)
                if event:
                    return Delivery(event, attempt)
        return None

    def delivered(self, delivery: Delivery) -> None:
        """Forget it."""
        with self._store.transaction():
            self._store.execute("DELETE FROM deliveries WHERE event = ?", (delivery.event["id"],))
            self._mark(delivery.event["id"], 0)

    def failed(self, delivery: Delivery) -> None:
        """Try again later or, after many tries, only when asked to."""
        due = time.time() + pause(delivery.attempt) if delivery.attempt < _MOST_ATTEMPTS else None
        self._store.execute("UPDATE deliveries SET due = ? WHERE event = ?", (due, delivery.event["id"]))

    def next_due(self) -> float | None:
        """Seconds until something is due, None if nothing is waiting."""
        ((due,),) = self._store.execute("SELECT min(due) FROM deliveries")
        return None if due is None else max(0.0, due - time.time())

    def waiting(self) -> list[str]:
        """Ids of the events that are not delivered, given up or not."""
        return [event for (event,) in self._store.execute("SELECT event FROM deliveries")]

    def _mark(self, event_id: str, pending: int) -> None:
        self._store.execute(
            "UPDATE objects SET body = json_set(body, '$.pending_webhooks', ?) WHERE id = ?",
            (pending, event_id),
        )

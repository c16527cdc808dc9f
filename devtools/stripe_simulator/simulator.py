"""The simulated account: its store, clock, faults, and webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from devtools.stripe_simulator.call import Call
from devtools.stripe_simulator.clock import Clock
from devtools.stripe_simulator.faults import Faults
from devtools.stripe_simulator.idempotency import Idempotency
from devtools.stripe_simulator.store import Store
from devtools.stripe_simulator.webhooks import Endpoint, Webhooks, mark


class Simulator:
    """One simulated account.

    Args:
        store: the data, owned by the simulator.
        endpoint: receives webhooks; None to send none.
    """

    def __init__(self, store: Store, endpoint: Endpoint | None) -> None:
        self.store = store
        self.clock = Clock(store)
        self.faults = Faults()
        self.idempotency = Idempotency(store, self.clock)
        self._webhooks = Webhooks(endpoint, store) if endpoint else None

    @contextmanager
    def call(
        self, base_url: str, request_id: str | None = None, idempotency_key: str | None = None
    ) -> Iterator[Call]:
        """Run a transaction on the account. Other threads send its events after the commit."""
        call = Call(self.store, self.clock.now(), base_url.rstrip("/"), request_id, idempotency_key)
        with self.store.transaction():
            yield call
            if self._webhooks:
                for event in call.events:
                    mark(self.store, event, 1)
        if self._webhooks:
            self._webhooks.send(call.events)

    def resend(self, event_id: str) -> None:
        """Deliver an event again, also one that was abandoned."""
        if self._webhooks:
            mark(self.store, event_id, 1)
            self._webhooks.send([event_id])

    def reset(self) -> None:
        """Delete everything."""
        self.faults.clear()
        self.store.clear()

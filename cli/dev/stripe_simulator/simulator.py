"""What every endpoint works with: the store, the clock, ids, and events for webhooks."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cli.dev.stripe_simulator.store import Store

_PAGE = 10


class Simulator:
    """The simulated account.

    Attributes:
        base_url: where this server is reached, for redirects.
        advanced: seconds that the clock was moved forward.
        on_event: called with each new event.
    """

    def __init__(self, store: Store, base_url: str, on_event: Callable[[dict[str, Any]], None]) -> None:
        self.store = store
        self.base_url = base_url
        self.advanced = 0
        self.on_event = on_event
        self._emitted = threading.local()

    def now(self) -> int:
        """Seconds since 1970, by the simulator's clock."""
        return int(time.time()) + self.advanced

    @staticmethod
    def new_id(prefix: str) -> str:
        """An id as Stripe's look."""
        return f"{prefix}_{secrets.token_hex(12)}"

    def emit(self, kind: str, record: dict[str, Any]) -> None:
        """Record an event; it is delivered once the transaction that makes it is committed."""
        event = {
            "id": self.new_id("evt"),
            "object": "event",
            "created": self.now(),
            "data": {"object": record},
            "livemode": False,
            "type": kind,
        }
        self.store.put(event)
        self._emitted.events.append(event)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block's writes, or none; its events are delivered after the commit."""
        self._emitted.events = []
        with self.store.transaction():
            yield
        for event in self._emitted.events:
            self.on_event(event)

    def page(self, found: list[dict[str, Any]], params: dict[str, Any], url: str) -> dict[str, Any]:
        """One page of a list, after `starting_after`: https://docs.stripe.com/api/pagination"""
        start = params.get("starting_after")
        if start:
            ids = [record["id"] for record in found]
            found = found[ids.index(start) + 1 :] if start in ids else []
        limit = min(int(params.get("limit", _PAGE)), 100)
        return {"object": "list", "url": url, "has_more": len(found) > limit, "data": found[:limit]}

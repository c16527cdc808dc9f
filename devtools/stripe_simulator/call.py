"""The context of every operation on the simulated account."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from devtools.stripe_simulator.errors import no_such
from devtools.stripe_simulator.store import Record, Store

#: The simulated API version, which stripe 16 requests.
API_VERSION = "2026-10-28.endive"


def new_id(prefix: str) -> str:
    """Return an unguessable id in Stripe's format."""
    return f"{prefix}_{secrets.token_hex(12)}"


@dataclass
class Call:
    """One request to the API, or one action of the customer or the bank: one transaction.

    Attributes:
        now: seconds since 1970 by the simulator's clock.
        base_url: URL of this server, for redirects.
        request_id: id of the API request; None for other actions.
        idempotency_key: the request's key.
        pending: whether payments stay `processing` and refunds `pending`.
        events: ids of the created events.
    """

    store: Store
    now: int
    base_url: str
    request_id: str | None = None
    idempotency_key: str | None = None
    pending: bool = False
    events: list[str] = field(default_factory=list)

    def new(self, kind: str, prefix: str, **fields: Any) -> Record:
        """Return an unsaved object with the members that all objects have."""
        common = {"object": kind, "created": self.now, "livemode": False}
        return {"id": new_id(prefix), **common, **fields}

    def get(self, kind: str, record_id: str, param: str = "id") -> Record:
        """Return an object by its kind and id.

        Raises:
            StripeError: the object does not exist; `param` is the parameter with its id.
        """
        record = self.store.get(record_id)
        if record is None or record["object"] != kind:
            raise no_such(kind, record_id, param)
        return record

    def save(self, *records: Record) -> None:
        """Insert or replace objects."""
        for record in records:
            self.store.save(record)

    def emit(self, event_type: str, record: Record) -> None:
        """Record an event with the current `record`: https://docs.stripe.com/api/events/object"""
        event = self.new(
            "event",
            "evt",
            type=event_type,
            api_version=API_VERSION,
            data={"object": record},
            pending_webhooks=0,
            request={"id": self.request_id, "idempotency_key": self.idempotency_key},
        )
        self.save(event)
        self.events.append(event["id"])

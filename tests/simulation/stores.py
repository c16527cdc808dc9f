"""The stores and the broker, called through connections that can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.idempotency.memory import MemoryClaimStore
from app.payments.ledger.memory import MemoryLedger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from app.gateway import GatewayEvent
    from app.messaging.publisher import OutgoingEvent
    from tests.simulation.world import World

_WRITES = frozenset(
    {
        *("insert", "write", "claim", "renew", "take_out", "claim_unpublished"),
        *("replace", "remove", "remove_expired", "remember"),
    }
)
_GENERATORS = frozenset({"paid_since", "refunded_since"})


class MemoryWebhookLog:
    """See `app.payments.webhooks.WebhookLog`."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def has_seen(self, event_id: str) -> bool:
        return event_id in self._seen

    def remember(self, event: GatewayEvent, now: datetime) -> None:
        self._seen.add(event.id)


class Remote:
    """A store behind a connection: each method is a call that can fail.

    Args:
        world: decides which calls fail.
        inner: the store itself.
    """

    def __init__(self, world: World, inner: Any) -> None:
        self._world = world
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)
        if name in _GENERATORS:
            generator = call

            def call(*args: Any) -> Any:
                return list(generator(*args))

        def remote(*args: Any, **options: Any) -> Any:
            return self._world.database(name, name in _WRITES, call, args, options)

        self.__dict__[name] = remote
        return remote


class Stores:
    """State that survives every process."""

    def __init__(self, world: World) -> None:
        self.ledger = MemoryLedger()
        self.claims = MemoryClaimStore()
        self.remote_ledger: Any = Remote(world, self.ledger)
        self.remote_claims: Any = Remote(world, self.claims)
        self.webhooks: Any = Remote(world, MemoryWebhookLog())
        self.broker: Any = Broker(world)


class Broker:
    """Accepts events. It keeps confirmed events and sometimes unconfirmed ones.

    Attributes:
        published: every event in the order of its arrival, repetitions included.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.published: list[OutgoingEvent] = []

    def publish_all(self, events: Sequence[OutgoingEvent]) -> dict[str, str]:
        world = self._world
        fault, degree = world.fault("broker")
        world.sleep(0.001 + 0.004 * degree)
        if fault == "killed before":
            world.crash()
        if fault == "refused":
            return {event.event_id: "unavailable" for event in events}
        for event in events:
            world.log(f"broker takes {event.event_type} {event.event_id}")
        self.published += events
        if fault == "killed after":
            world.crash()
        if fault == "unacknowledged":
            return {event.event_id: "no confirm" for event in events}
        if fault == "paused after":
            world.sleep(60 + 300 * degree)
        return {}

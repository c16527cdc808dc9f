"""Dramatiq's broker for RABBITMQ_URL."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import dramatiq
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Middleware

from app.messaging.rabbitmq import EventBroker
from app.messaging.redis import ReasonedRedisBroker
from app.messaging.topology import Topology
from app.settings import Broker

if TYPE_CHECKING:
    from app.settings import Settings

#: A century, because RedisBroker deletes dead messages after a TTL and has no option to keep them.
_DEAD_MESSAGE_TTL_MS = 100 * 365 * 86_400_000

#: Chance of maintenance in a million commands. With Dramatiq's default of 1,000, a small stack recovers a
#: killed worker's messages too late.
_MAINTENANCE_CHANCE = 20_000


def make_broker(settings: Settings, middleware: list[Middleware] | None = None) -> dramatiq.Broker:
    """Make Dramatiq's broker.

    Args:
        settings: have the broker's URL.
        middleware: Dramatiq middleware, in order; none for a process that only enqueues.
    """
    return _BROKERS[settings.broker](settings, middleware or [])


def _rabbitmq(settings: Settings, middleware: list[Middleware]) -> dramatiq.Broker:
    return EventBroker(url=settings.rabbitmq_url, topology=Topology.of(settings), middleware=middleware)


def _redis(settings: Settings, middleware: list[Middleware]) -> dramatiq.Broker:
    return ReasonedRedisBroker(
        url=settings.rabbitmq_url,
        namespace=Topology.of(settings).redis_namespace,
        dead_message_ttl=_DEAD_MESSAGE_TTL_MS,
        maintenance_chance=_MAINTENANCE_CHANCE,
        middleware=middleware,
    )


def _memory(_settings: Settings, middleware: list[Middleware]) -> dramatiq.Broker:
    return StubBroker(middleware=middleware)


_BROKERS: dict[Broker, Callable[[Settings, list[Middleware]], dramatiq.Broker]] = {
    Broker.RABBITMQ: _rabbitmq,
    Broker.REDIS: _redis,
    Broker.MEMORY: _memory,
}

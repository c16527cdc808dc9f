"""The broker that RABBITMQ_URL asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Middleware

from app.messaging.encoder import EventEncoder
from app.messaging.rabbitmq import EventBroker
from app.messaging.topology import Topology

if TYPE_CHECKING:
    from app.settings import Settings

#: Redis has no XQ without an end; a century will do.
_FOR_EVER_MS = 100 * 365 * 86_400_000

#: Of a million commands; Dramatiq's own 1 000 leaves a killed worker's messages too long in a small stack.
_MAINTENANCE_CHANCE = 20_000


def make_broker(settings: Settings, middleware: list[Middleware] | None = None) -> dramatiq.Broker:
    """Make a broker, and teach Dramatiq to read events.

    Args:
        settings: `rabbitmq_url` chooses: amqp(s):// RabbitMQ, redis(s):// Redis, stub:// memory (tests).
        middleware: Dramatiq's, in order; none for a process that only enqueues.
    """
    topology = Topology.of(settings)
    middleware = middleware or []
    broker: dramatiq.Broker
    match urlsplit(settings.rabbitmq_url).scheme:
        case "amqp" | "amqps":
            broker = EventBroker(url=settings.rabbitmq_url, topology=topology, middleware=middleware)
        case "redis" | "rediss":
            broker = RedisBroker(
                url=settings.rabbitmq_url,
                namespace=topology.redis_namespace,
                dead_message_ttl=_FOR_EVER_MS,
                maintenance_chance=_MAINTENANCE_CHANCE,
                middleware=middleware,
            )
        case _:
            broker = StubBroker(middleware=middleware)
    dramatiq.set_encoder(EventEncoder())
    return broker

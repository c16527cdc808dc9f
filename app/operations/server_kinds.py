"""Kinds of servers on which movieapp's guarantees do not hold. The services refuse to start with them, and
`check` fails.

Each reason names the broken guarantee and an alternative. A server that does not respond is not refused,
because the services may start while others are down.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from app.settings import Broker

if TYPE_CHECKING:
    import pymongo
    import redis

    from app.settings import Settings

#: Timeout in seconds, after which the kind of a server counts as unknown.
_TIMEOUT_SECONDS = 1.0

_SHARDED = (
    "MONGODB_URI points to mongos, the router of a sharded cluster, on which a booking could be paid twice. "
    "Use a replica set instead (docs/scaling.md)."
)
_CLUSTER = (
    "{setting} points to a node of a Redis Cluster, on which scripts and transactions that use several keys "
    "fail. Use one server, or a primary with replicas (docs/scaling.md)."
)
_STREAM = (
    "{queue} is a stream, which keeps acknowledged messages and has no dead letters. "
    "Delete the queue and start a worker, which declares a classic or quorum queue (docs/scaling.md)."
)


def mongodb_refusal(client: pymongo.MongoClient[dict[str, Any]]) -> str | None:
    """Return why the server behind `client` is refused, None if it is not.

    Raises:
        pymongo.errors.PyMongoError: it is unavailable.
    """
    return _SHARDED if client.is_mongos else None


def redis_refusal(client: redis.Redis, setting: str = "REDIS_URL") -> str | None:
    """Return why the server behind `client` is refused, None if it is not, or if this user may not ask.

    Args:
        client: the server.
        setting: the setting that names it.

    Raises:
        redis.RedisError: it is unavailable.
    """
    from redis import ResponseError

    try:
        return _CLUSTER.format(setting=setting) if client.info("cluster").get("cluster_enabled") else None
    except ResponseError:
        return None


def queue_refusal(queue: str, reply: str) -> str | None:
    """Return why a queue is refused, by RabbitMQ's reply to its declaration; None if it is not."""
    return _STREAM.format(queue=queue) if "current is 'stream'" in reply else None


def refusals(settings: Settings, *, queues: bool) -> list[str]:
    """Return why to refuse to start with the servers that `settings` name.

    Args:
        queues: also check the queues, for a process that consumes from them.
    """
    reasons = [_mongodb(settings), _redis(settings.redis_url, "REDIS_URL")]
    if settings.broker is Broker.REDIS:
        reasons.append(_redis(settings.rabbitmq_url, "RABBITMQ_URL"))
    if queues:
        reasons += _queues(settings)
    return [reason for reason in reasons if reason]


def _mongodb(settings: Settings) -> str | None:
    import pymongo
    from pymongo.errors import PyMongoError

    try:
        # Closed before any fork, because PyMongo's clients are not fork-safe.
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(settings.mongodb_uri)
        with client, pymongo.timeout(_TIMEOUT_SECONDS):
            return mongodb_refusal(client)
    except PyMongoError:
        return None


def _redis(url: str, setting: str) -> str | None:
    import redis

    timeouts = {"socket_connect_timeout": _TIMEOUT_SECONDS, "socket_timeout": _TIMEOUT_SECONDS}
    try:
        with redis.Redis.from_url(url, **timeouts) as client:
            return redis_refusal(client, setting)
    except redis.RedisError:
        return None


def _queues(settings: Settings) -> Iterator[str]:
    from app.errors import ServiceUnavailable
    from app.messaging.inspection import inspect_queues

    try:
        for queue in inspect_queues(settings):
            if reason := queue_refusal(queue.name, queue.failure):
                yield reason
    except ServiceUnavailable:
        return

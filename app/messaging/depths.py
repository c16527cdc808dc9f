"""Count the messages of each queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pika
import pika.exceptions
import redis

from app.errors import unavailable
from app.messaging.queues import QUEUES
from app.messaging.rabbitmq import connection_parameters
from app.messaging.topology import Topology, is_on_a_node_that_is_down
from app.settings import Broker

if TYPE_CHECKING:
    from app.settings import Settings

#: Timeout of each call to a broker, in seconds.
_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class QueueDepth:
    """The messages of one queue.

    Attributes:
        queue: its name, without the namespace.
        ready: messages that wait for a worker.
        delayed: messages that wait for a time; on RabbitMQ without those that a worker has prefetched.
        dead: dead letters.
        unacked: messages that a worker is handling; None on RabbitMQ, where AMQP can't count them.
        unavailable: one of its queues is on a RabbitMQ node that is down, and is not counted.
    """

    queue: str
    ready: int
    delayed: int
    dead: int
    unacked: int | None = None
    unavailable: bool = False


def queue_depths(settings: Settings) -> list[QueueDepth]:
    """Count the messages of every queue in `QUEUES`. A queue that was never declared counts as empty.

    Raises:
        ServiceUnavailable: the broker is unavailable.
    """
    return list(_DEPTHS[settings.broker](settings.rabbitmq_url, Topology.of(settings)))


def _on_rabbitmq(url: str, topology: Topology) -> Iterable[QueueDepth]:
    try:
        with pika.BlockingConnection(connection_parameters(url)) as connection:
            for queue in QUEUES:
                name = topology.queue(queue)
                counts = [_count(connection, f"{name}{beside}") for beside in ("", ".DQ", ".XQ")]
                ready, delayed, dead = (count or 0 for count in counts)
                yield QueueDepth(queue, ready, delayed, dead, unavailable=None in counts)
    except (pika.exceptions.AMQPError, OSError) as error:
        raise unavailable("RabbitMQ", error) from error


def _count(connection: pika.BlockingConnection, queue: str) -> int | None:
    """Return the number of messages in `queue`; None if its node is down."""
    channel = connection.channel()
    try:
        count = int(channel.queue_declare(queue, passive=True).method.message_count)
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code != 404:
            raise
        return None if is_on_a_node_that_is_down(error) else 0
    channel.close()
    return count


def _on_redis(url: str, topology: Topology) -> Iterable[QueueDepth]:
    """Count messages in Redis: lists of ready ids, sorted sets of dead ids, and a set of unacked ids for each
    worker.

    The keys are Dramatiq's: dramatiq/brokers/redis/dispatch.lua.
    """
    prefix = topology.redis_namespace
    client = redis.Redis.from_url(
        url, socket_connect_timeout=_TIMEOUT_SECONDS, socket_timeout=_TIMEOUT_SECONDS
    )
    try:
        with client, client.pipeline(transaction=False) as pipeline:
            workers: Any = client.zrange(f"{prefix}:__heartbeats__", 0, -1)
            for queue in QUEUES:
                name = f"{prefix}:{topology.queue(queue)}"
                pipeline.llen(name)
                pipeline.llen(f"{name}.DQ")
                pipeline.zcard(f"{name}.XQ")
                for worker in workers:
                    pipeline.scard(f"{prefix}:__acks__.{worker.decode()}.{topology.queue(queue)}")
            results = iter(pipeline.execute())
    except redis.RedisError as error:
        raise unavailable("Redis", error) from error
    for queue in QUEUES:
        ready, delayed, dead = next(results), next(results), next(results)
        yield QueueDepth(queue, ready, delayed, dead, sum(next(results) for _ in workers))


_DEPTHS: dict[Broker, Callable[[str, Topology], Iterable[QueueDepth]]] = {
    Broker.RABBITMQ: _on_rabbitmq,
    Broker.REDIS: _on_redis,
    Broker.MEMORY: lambda _url, _topology: (QueueDepth(queue, 0, 0, 0) for queue in QUEUES),
}

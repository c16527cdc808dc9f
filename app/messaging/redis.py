"""Dramatiq's Redis broker, extended to store the reason of each dead letter."""

from __future__ import annotations

from dramatiq.broker import MessageProxy
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer

from app.messaging.death import reason_of


class ReasonedRedisConsumer(_RedisConsumer):
    """Consumer that stores the reason in the hash `….XQ.reasons` before a message becomes a dead letter."""

    broker: RedisBroker

    def nack(self, message: MessageProxy) -> None:
        reasons = reasons_key(f"{self.broker.namespace}:{message.queue_name.removesuffix('.DQ')}")
        self.broker.client.hset(reasons, message.options["redis_message_id"], reason_of(self.broker, message))
        super().nack(message)


class ReasonedRedisBroker(RedisBroker):
    """Redis broker whose consumers are `ReasonedRedisConsumer`s."""

    @property
    def consumer_class(self) -> type[ReasonedRedisConsumer]:
        return ReasonedRedisConsumer


def reasons_key(queue_key: str) -> str:
    """Return the key of the hash message id → reason, for the dead letters of a queue.

    Args:
        queue_key: namespace and full queue name, separated by a colon.
    """
    return f"{queue_key}.XQ.reasons"

"""Find a test's data on shared servers by its unique names, and remove it."""

from __future__ import annotations

import pika
import pymongo
import redis

from app.messaging.queues import QUEUES
from app.settings import Settings


def remove_stored(settings: Settings) -> None:
    """Drop the database, and delete all keys in the namespace."""
    with pymongo.MongoClient[dict[str, object]](settings.mongodb_uri) as client:
        client.drop_database(client.get_default_database().name)
    with redis.Redis.from_url(settings.redis_url) as store:
        for key in store.scan_iter(f"{settings.namespace}*", count=1000):
            store.delete(key)


def remove_queues(settings: Settings) -> None:
    """Delete the exchange, and the queues with their delayed messages and dead letters."""
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        channel = connection.channel()
        for queue in QUEUES:
            for suffix in ("", ".DQ", ".XQ"):
                channel.queue_delete(f"{settings.namespace}{queue}{suffix}")
        channel.exchange_delete(settings.rabbitmq_exchange)

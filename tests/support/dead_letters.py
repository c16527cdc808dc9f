"""Dead letters created the usual way: put onto a queue, received by a consumer, and refused."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import dramatiq
import pika
from dramatiq.brokers.redis import RedisBroker

from app.messaging.broker import make_broker
from app.messaging.topology import Topology
from app.settings import Settings
from tests.support.wait import wait_for


def bury(settings: Settings, queue: str, bodies: Sequence[bytes], **properties: Any) -> None:
    """Create a dead letter from each body.

    Args:
        settings: the broker, and its names.
        queue: without the namespace.
        bodies: message bodies that are refused, in this order.
        properties: further AMQP properties.
    """
    name = settings.namespace + queue
    if settings.rabbitmq_url.startswith("redis"):
        _bury_on_redis(settings, name, bodies)
    else:
        _bury_on_rabbitmq(settings, name, bodies, pika.BasicProperties(delivery_mode=2, **properties))


def delivery_message(settings: Settings, notification_id: str, **options: Any) -> bytes:
    """Return the message of a mail delivery, with Dramatiq's data on attempts."""
    queue = f"{settings.namespace}notification.email"
    if settings.rabbitmq_url.startswith("redis"):
        options["redis_message_id"] = str(uuid.uuid4())
    message: dramatiq.Message[None] = dramatiq.Message(queue, "send_email", (notification_id,), {}, options)
    return message.encode()


def _bury_on_rabbitmq(
    settings: Settings, queue: str, bodies: Sequence[bytes], properties: pika.BasicProperties
) -> None:
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        channel = connection.channel()
        Topology.of(settings).declare(channel, queue)
        buried = channel.queue_declare(f"{queue}.XQ", passive=True).method.message_count + len(bodies)
        for body in bodies:
            channel.basic_publish("", queue, body, properties)
        taken = channel.consume(queue)
        for _, (method, _properties, _body) in zip(bodies, taken, strict=False):
            last = method.delivery_tag
        if bodies:
            channel.basic_nack(last, multiple=True, requeue=False)
        other = connection.channel()
        wait_for(
            lambda: other.queue_declare(f"{queue}.XQ", passive=True).method.message_count == buried,
            10,
            "not all were dead-lettered",
        )


def _bury_on_redis(settings: Settings, queue: str, bodies: Sequence[bytes]) -> None:
    broker = make_broker(settings)
    assert isinstance(broker, RedisBroker)
    for number, body in enumerate(bodies):
        try:
            name = dramatiq.Message.decode(body).options["redis_message_id"]
        except (dramatiq.DecodeError, KeyError):
            # Redis sorts dead letters of the same millisecond by name.
            name = f"{number:08}-{uuid.uuid4()}"
        broker.do_enqueue(queue, name, body)
        assert broker.do_fetch(queue, 1) == [body]
        broker.do_nack(queue, name)
    broker.close()

"""Messages that RabbitMQ redelivers after a lost connection."""

from __future__ import annotations

import pika
from dramatiq.message import Message

from app.channels import CHANNELS, ChannelName
from app.messaging.broker import make_broker
from app.messaging.rabbitmq import EventConsumer
from app.messaging.topology import Topology
from app.settings import Settings
from tests.support.wait import wait_for


def test_a_message_of_a_lost_connection_is_not_acknowledged_on_the_next(rabbit_settings: Settings) -> None:
    queue = Topology.of(rabbit_settings).queue(CHANNELS[ChannelName.EMAIL].queue)
    broker = make_broker(rabbit_settings)

    def consumer() -> EventConsumer:
        created = broker.consume(queue, prefetch=1, timeout=100)
        assert isinstance(created, EventConsumer)
        return created

    def waiting() -> int:
        with pika.BlockingConnection(pika.URLParameters(rabbit_settings.rabbitmq_url)) as connection:
            return int(connection.channel().queue_declare(queue, passive=True).method.message_count)

    broker.declare_queue(queue)
    broker.enqueue(Message(queue, "send_email", ("1",), {}, {}))
    before = consumer()
    old = wait_for(before.__next__, 5, "no message")
    before.close()
    after = consumer()
    new = wait_for(after.__next__, 5, "not delivered again")
    assert (old.message_id, old._tag) == (new.message_id, new._tag), "the same number on another connection"
    after.ack(old)
    after.nack(old)
    after.close()
    assert waiting() == 1, "it is not done: nobody has acknowledged the second delivery"

    last = consumer()
    last.ack(wait_for(last.__next__, 5, "not delivered again"))
    last.close()
    assert waiting() == 0
    broker.close()

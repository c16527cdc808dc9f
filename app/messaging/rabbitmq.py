"""Dramatiq's RabbitMQ broker with this project's topology, fed by the topic exchange."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker, _RabbitmqConsumer
from dramatiq.common import q_name
from dramatiq.middleware import Middleware

from app.messaging.queues import NOTIFY
from app.messaging.topology import Topology, misrouted
from app.telemetry import tracing

#: Seconds. No call to RabbitMQ hangs.
_TIMEOUTS = {"socket_timeout": 5, "stack_timeout": 10, "blocked_connection_timeout": 10}


def connection_parameters(url: str) -> pika.URLParameters:
    """What a connection outside of Dramatiq is made with.

    Args:
        url: amqp(s)://…
    """
    parameters = pika.URLParameters(url)
    for name, seconds in _TIMEOUTS.items():
        setattr(parameters, name, seconds)
    return parameters


class EventConsumer(_RabbitmqConsumer):
    """Sees that a message belongs to the queue it came from, whatever its body says.

    An event names no queue, and Dramatiq acknowledges through the consumer of the queue that a message
    names: one that named another queue would stay unacknowledged for ever. On the queues that other services
    publish to, only events are taken, and only those of the family that the queue is bound for: nobody starts
    another actor from there, and who may publish bookings announces no payments.
    """

    broker: EventBroker

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._headers: dict[str, Any] = {}
        if tracing.enabled():
            self.iterator = self._remembering_headers(self.iterator)

    def _remembering_headers(self, deliveries: Iterator[Any]) -> Iterator[Any]:
        # Dramatiq keeps a message's body only.
        for delivery in deliveries:
            properties = delivery[1]
            self._headers = (properties.headers if properties else None) or {}
            yield delivery

    def __next__(self) -> Any:
        message = super().__next__()
        if message is None:
            return None
        message._consumer = self
        if message.queue_name != self.queue_name:
            message._message = message._message.copy(queue_name=self.queue_name)
        if trace := tracing.valid(self._headers.get(tracing.TRACEPARENT)):
            # An option, so that it is kept when the message is tried again.
            message._message = message._message.copy(options={tracing.TRACEPARENT: trace})
        if q_name(self.queue_name) in self.broker.topology.event_queues and not self._is_event_of_here(
            message
        ):
            self.logger.error("Dead-lettered a message for actor %r: no event of here.", message.actor_name)
            self.nack(message)
            return None
        return message

    def _is_event_of_here(self, message: Any) -> bool:
        if message.actor_name != NOTIFY:
            return False
        event = message.args[0] if message.args else None
        return isinstance(event, dict) and not misrouted(q_name(self.queue_name), event.get("event_type"))

    def ack(self, message: Any) -> None:
        if self._delivered(message):
            super().ack(message)

    def nack(self, message: Any) -> None:
        if self._delivered(message):
            super().nack(message)

    def _delivered(self, message: Any) -> bool:
        """Whether `message` came over this connection.

        Delivery tags count from 1 on each. After a reconnection Dramatiq would let a message that came over
        the old one acknowledge another, unfinished one that has its number now. The old one comes again.
        """
        ours: bool = message._consumer is self
        if not ours:
            self.logger.info("Message %r came over a lost connection: redelivered.", message.message_id)
        return ours


class EventBroker(RabbitmqBroker):
    """Declares exchange, queues and bindings where it first needs them, and publishes with confirms.

    Args:
        url: amqp(s)://…
        topology: the names to declare.
        middleware: Dramatiq's, in order.
    """

    def __init__(self, *, url: str, topology: Topology, middleware: list[Middleware]) -> None:
        self.topology = topology
        super().__init__(url=url, confirm_delivery=True, middleware=middleware)

    @property
    def consumer_class(self) -> type[EventConsumer]:
        return EventConsumer

    def _declare_queue(self, queue_name: str) -> Any:
        self.topology.declare(self.channel, queue_name)
        return self.channel.queue_declare(queue_name, passive=True)

    def _declare_dq_queue(self, queue_name: str) -> Any:
        return self.channel.queue_declare(f"{queue_name}.DQ", passive=True)

    def _declare_xq_queue(self, queue_name: str) -> Any:
        return self.channel.queue_declare(f"{queue_name}.XQ", passive=True)

"""Dramatiq's RabbitMQ broker with this project's topology, bound to the topic exchange."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import pika
import pika.exceptions
from dramatiq.brokers.rabbitmq import RabbitmqBroker, _RabbitmqConsumer, _RabbitmqMessage
from dramatiq.common import q_name
from dramatiq.errors import ConnectionClosed
from dramatiq.message import Message
from dramatiq.middleware import Middleware

from app.messaging.death import printable, reason_of
from app.messaging.letter_headers import letter_properties
from app.messaging.topology import Topology, is_on_a_node_that_is_down
from app.messaging.wire import Origin, Refused, accept
from app.telemetry import tracing
from app.telemetry.logs import get_logger

log = get_logger(__name__)

#: Timeout of each call to RabbitMQ, in seconds.
_TIMEOUTS = {"socket_timeout": 5, "stack_timeout": 10, "blocked_connection_timeout": 10}

#: Errors after which a new connection is tried.
_LOST = (pika.exceptions.AMQPConnectionError, pika.exceptions.AMQPChannelError)


def connection_parameters(url: str) -> pika.URLParameters:
    """Return the parameters of a connection outside of Dramatiq.

    Args:
        url: amqp(s)://…
    """
    parameters = pika.URLParameters(url)
    for name, seconds in _TIMEOUTS.items():
        setattr(parameters, name, seconds)
    return parameters


@dataclass(frozen=True)
class Delivery:
    """A message as RabbitMQ delivered it.

    Attributes:
        tag: delivery tag, valid on its connection only.
        origin: how the message was routed.
    """

    tag: int
    origin: Origin
    properties: pika.BasicProperties
    body: bytes


class EventMessage(_RabbitmqMessage):
    """A message with its consumer and its delivery."""

    def __init__(self, message: Message[Any], redelivered: bool, delivery: Delivery, consumer: Any) -> None:
        super().__init__(redelivered, delivery.tag, message)
        self.delivery = delivery
        self.consumer = consumer


class EventConsumer(_RabbitmqConsumer):
    """Consumer that accepts only valid messages (`wire.accept`) and makes all others dead letters.

    The headers of each dead letter have the reason and the message's routing.
    """

    broker: EventBroker

    def __next__(self) -> EventMessage | None:
        try:
            method, properties, body = next(self.iterator)
        except (AssertionError, *_LOST) as error:
            if getattr(error, "reply_code", None) == 404:
                # The queue is gone: the broker declares it when this consumer starts again.
                self.broker.queues_pending.add(q_name(self.queue_name))
            raise ConnectionClosed(error) from None
        if method is None:
            return None
        origin = Origin(method.exchange, method.routing_key)
        delivery = Delivery(method.delivery_tag, origin, properties, body)
        try:
            fields = accept(q_name(self.queue_name), body, origin)
        except Refused as refusal:
            log.error("message refused", queue=q_name(self.queue_name), reason=str(refusal), size=len(body))
            self._bury(delivery, str(refusal))
            return None
        # Dramatiq acknowledges through the consumer of the queue that a message names. An event names none.
        fields |= {"queue_name": self.queue_name, "args": tuple(fields["args"])}
        message: Message[Any] = Message(**fields)
        if trace := tracing.valid((properties.headers or {}).get(tracing.TRACEPARENT)):
            # Stored as an option, so that retries keep it.
            message = message.copy(options={tracing.TRACEPARENT: trace})
        self.known_tags.add(delivery.tag)
        return EventMessage(message, method.redelivered, delivery, self)

    def ack(self, message: Any) -> None:
        if self._is_ours(message):
            super().ack(message)

    def nack(self, message: Any) -> None:
        if self._is_ours(message) and message.delivery.tag in self.known_tags:
            self.known_tags.discard(message.delivery.tag)
            self._bury(message.delivery, reason_of(self.broker, message))

    def _bury(self, delivery: Delivery, reason: str) -> None:
        """Make a dead letter of `delivery`, with the reason in its headers.

        The dead letter is published before the message is acknowledged, so a worker that dies in between
        leaves two. If publishing fails, RabbitMQ moves the message itself, without a reason.
        """
        queue = q_name(self.queue_name)
        settle = partial(self.channel.basic_ack, delivery.tag)
        try:
            self.broker.publish_letter(queue, delivery.body, letter_properties(delivery, reason))
        except Exception as error:  # for example a header that pika can read but not write
            log.warning("dead-letter reason not stored", queue=queue, reason=printable(str(error)))
            settle = partial(self.channel.basic_nack, delivery.tag, requeue=False)
        try:
            self.connection.add_callback_threadsafe(settle)
        except _LOST as error:
            raise ConnectionClosed(error) from None

    def _is_ours(self, message: EventMessage) -> bool:
        """Return whether `message` arrived over this connection.

        Delivery tags start at 1 on each connection. After a reconnection, an old message could acknowledge an
        unfinished new one with the same tag. RabbitMQ redelivers the old message anyway.
        """
        is_own: bool = message.consumer is self
        if not is_own:
            self.logger.info(
                "Message %r arrived over a lost connection and will be redelivered.", message.message_id
            )
        return is_own


class EventBroker(RabbitmqBroker):
    """Broker that declares exchange, queues, and bindings at first use, and publishes with confirms.

    Args:
        url: amqp(s)://…
        topology: the names to declare.
        middleware: Dramatiq middleware, in order.
    """

    def __init__(self, *, url: str, topology: Topology, middleware: list[Middleware]) -> None:
        self.topology = topology
        super().__init__(url=url, confirm_delivery=True, middleware=middleware)

    @property
    def consumer_class(self) -> type[EventConsumer]:
        return EventConsumer

    def publish_letter(self, queue: str, body: bytes, properties: pika.BasicProperties) -> None:
        """Publish a dead letter of `queue` with a confirm.

        Raises:
            pika.exceptions.AMQPError: it is not confirmed.
        """
        for attempt in (1, 2):
            try:
                # The thread's own connection. It may have been idle for so long that RabbitMQ closed it.
                self.channel.basic_publish("", f"{queue}.XQ", body, properties, mandatory=True)
            except _LOST:
                del self.connection
                if attempt == 2:
                    raise
            else:
                return

    def _declare_queue(self, queue_name: str) -> Any:
        self.topology.declare(self.channel, queue_name)
        return self.channel.queue_declare(queue_name, passive=True)

    def _declare_dq_queue(self, queue_name: str) -> Any:
        return self.channel.queue_declare(f"{queue_name}.DQ", passive=True)

    def _declare_xq_queue(self, queue_name: str) -> Any:
        # The topology has declared it, and handles a node that is down.
        with self.channel.connection.channel() as probe:
            try:
                return probe.queue_declare(f"{queue_name}.XQ", passive=True)
            except pika.exceptions.ChannelClosedByBroker as refused:
                if not is_on_a_node_that_is_down(refused):
                    raise
                return None

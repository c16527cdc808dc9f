"""Publishing an event so that it is either safe on the broker or reported as not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import dramatiq
import pika
import pika.exceptions
from dramatiq.message import Message

from app.messaging.broker import make_broker
from app.messaging.encoder import event_message
from app.messaging.rabbitmq import connection_parameters
from app.messaging.topology import Topology
from app.telemetry import tracing
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from app.settings import Settings

log = get_logger(__name__)


class PublishError(Exception):
    """The broker did not confirm the event; it may be published again, with the same id."""


@dataclass(frozen=True)
class OutgoingEvent:
    """An event on its way out.

    Attributes:
        body: its JSON, which carries the id and the type too.
        traceparent: the trace that it belongs to, if any.
    """

    event_id: str
    event_type: str
    body: str
    traceparent: str | None = None

    @property
    def trace(self) -> dict[str, str]:
        """Its header, or its message's option."""
        return {tracing.TRACEPARENT: self.traceparent} if self.traceparent else {}


class Publisher(Protocol):
    """Publishes events; owned by one thread."""

    def publish(self, event: OutgoingEvent) -> None:
        """Publish one event and wait until the broker has it.

        Raises:
            PublishError: not confirmed, or no queue takes it yet.
        """

    def keep_alive(self) -> None:
        """Answer the broker's heartbeats; to be called at least every few seconds while idle."""

    def close(self) -> None:
        """Close the connection."""


class RabbitPublisher:
    """Plain JSON onto the topic exchange, persistent, mandatory and confirmed."""

    def __init__(self, settings: Settings) -> None:
        self._topology = Topology.of(settings)
        self._parameters = connection_parameters(settings.rabbitmq_url)
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None

    def publish(self, event: OutgoingEvent) -> None:
        fresh = self._channel is None
        try:
            self._publish(event)
        except pika.exceptions.UnroutableError as error:
            raise PublishError(f"no queue takes {event.event_type} yet") from error
        except (pika.exceptions.AMQPError, OSError) as error:
            self.close()
            if fresh:
                raise PublishError(_words(error)) from error
            # A kept connection that the server has closed meanwhile says so only now.
            self.publish(event)

    def _publish(self, event: OutgoingEvent) -> None:
        self._open().basic_publish(
            exchange=self._topology.exchange,
            routing_key=event.event_type,
            body=event.body.encode(),
            properties=pika.BasicProperties(
                content_type="application/json",
                content_encoding="utf-8",
                delivery_mode=pika.DeliveryMode.Persistent.value,
                message_id=event.event_id,
                type=event.event_type,
                app_id="movieapp",
                headers=event.trace,
            ),
            mandatory=True,
        )

    def _open(self) -> BlockingChannel:
        if self._channel is None:
            self._connection = pika.BlockingConnection(self._parameters)
            self._declare()
            self._channel = self._connection.channel()
            self._channel.confirm_delivery()
        return self._channel

    def _declare(self) -> None:
        """Whoever comes first declares the queues, so that no event is published past them.

        A publisher that may not declare (its RabbitMQ user has no such permission) relies on the worker's.
        """
        assert self._connection is not None  # noqa: S101 - for the type checker
        channel = self._connection.channel()
        try:
            for queue in self._topology.event_queues:
                self._topology.declare(channel, queue)
            channel.close()
        except pika.exceptions.ChannelClosedByBroker as error:
            log.info("topology not declared by the publisher", reason=error.reply_text)

    def keep_alive(self) -> None:
        if self._connection is not None:
            try:
                self._connection.process_data_events(time_limit=0)
            except (pika.exceptions.AMQPError, OSError):
                self.close()

    def close(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None and connection.is_open:
            try:
                connection.close()
            except (pika.exceptions.AMQPError, OSError) as error:
                log.debug("closing the broker connection failed", reason=str(error))


def _words(error: Exception) -> str:
    if isinstance(error, pika.exceptions.ConnectionBlockedTimeout):
        return "RabbitMQ takes no messages: its memory or disk alarm is on (rabbitmqctl status names it)"
    return f"{type(error).__name__}: {error}"


class BrokerPublisher:
    """Onto the queues of a broker without exchanges (embedded Redis, stub): what the binding would do."""

    def __init__(self, settings: Settings, broker: dramatiq.Broker | None = None) -> None:
        self._topology = Topology.of(settings)
        self._broker = broker or make_broker(settings)

    def publish(self, event: OutgoingEvent) -> None:
        queue = self._topology.event_queue(event.event_type)
        if queue is None:
            raise PublishError(f"no queue takes {event.event_type}")
        fields = event_message(json.loads(event.body)) | {"queue_name": queue, "options": event.trace}
        message: Message[None] = Message(**fields)
        try:
            self._broker.enqueue(message)
        except Exception as error:
            raise PublishError(f"{type(error).__name__}: {error}") from error

    def keep_alive(self) -> None:
        pass

    def close(self) -> None:
        self._broker.close()


def make_publisher(settings: Settings) -> Publisher:
    """The publisher for the broker that `settings.rabbitmq_url` names. Connects at the first event."""
    if urlsplit(settings.rabbitmq_url).scheme.startswith("amqp"):
        return RabbitPublisher(settings)
    return BrokerPublisher(settings)

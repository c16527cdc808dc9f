"""Publish events, each either confirmed by the broker or reported as failed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dramatiq
import pika
import pika.exceptions
from dramatiq.message import Message

from app.events.decode import InvalidEvent, decode_event
from app.messaging import confirms
from app.messaging.broker import make_broker
from app.messaging.confirms import ConfirmChannel
from app.messaging.rabbitmq import connection_parameters
from app.messaging.topology import Topology
from app.messaging.wire import event_message
from app.settings import Broker
from app.telemetry import tracing
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.settings import Settings

log = get_logger(__name__)


class PublishError(Exception):
    """The broker did not confirm the event; it may be published again, with the same id."""


@dataclass(frozen=True)
class OutgoingEvent:
    """An event to publish.

    Attributes:
        body: the event as JSON.
        traceparent: the event's trace, if any.
    """

    event_id: str
    event_type: str
    body: str
    traceparent: str | None = None

    @property
    def trace(self) -> dict[str, str]:
        """Return the trace as a header or message option."""
        return {tracing.TRACEPARENT: self.traceparent} if self.traceparent else {}


class Publisher(ABC):
    """Publishes events. Belongs to one thread."""

    @abstractmethod
    def publish_all(self, events: Sequence[OutgoingEvent]) -> dict[str, str]:
        """Publish events, and wait until each is confirmed or refused.

        Returns:
            Event id → reason, for the events that the broker does not have.
        """

    def publish(self, event: OutgoingEvent) -> None:
        """Publish one event, and wait for the broker's confirm.

        Raises:
            PublishError: the event is not confirmed, or no queue is bound for it yet.
        """
        if refused := self.publish_all([event]):
            raise PublishError(refused[event.event_id])

    @abstractmethod
    def keep_alive(self) -> None:
        """Respond to the broker's heartbeats. Call this every few seconds while idle."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class RabbitPublisher(Publisher):
    """Publishes plain JSON to the topic exchange: persistent, mandatory, and confirmed."""

    def __init__(self, settings: Settings) -> None:
        self._topology = Topology.of(settings)
        self._parameters = connection_parameters(settings.rabbitmq_url)
        self._channel: ConfirmChannel | None = None

    def publish_all(self, events: Sequence[OutgoingEvent]) -> dict[str, str]:
        fresh = self._channel is None
        try:
            return self._open().publish(self._topology.exchange, [_message(event) for event in events])
        except (pika.exceptions.AMQPError, OSError) as error:
            self.close()
            if fresh:
                return dict.fromkeys((event.event_id for event in events), _words(error))
            # Only now does it show that the server has closed an idle connection.
            return self.publish_all(events)

    def _open(self) -> ConfirmChannel:
        if self._channel is None:
            self._declare()
            self._channel = ConfirmChannel(self._parameters)
        return self._channel

    def _declare(self) -> None:
        """Declare the queues before the first event, so that every event is routable.

        A publisher whose RabbitMQ user may not declare queues relies on the worker's declarations.
        """
        connection = pika.BlockingConnection(self._parameters)
        channel = connection.channel()
        try:
            for queue in self._topology.event_queues:
                self._topology.declare(channel, queue)
        except pika.exceptions.ChannelClosedByBroker as error:
            log.info("topology not declared by the publisher", reason=error.reply_text)
        connection.close()

    def keep_alive(self) -> None:
        if self._channel is not None:
            try:
                self._channel.keep_alive()
            except (pika.exceptions.AMQPError, OSError):
                self.close()

    def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()


def _message(event: OutgoingEvent) -> confirms.Message:
    return confirms.Message(
        event.event_type,
        event.body.encode(),
        pika.BasicProperties(
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=pika.DeliveryMode.Persistent.value,
            message_id=event.event_id,
            type=event.event_type,
            app_id="movieapp",
            headers=event.trace,
        ),
    )


def _words(error: Exception) -> str:
    if isinstance(error, pika.exceptions.ConnectionBlockedTimeout):
        return "RabbitMQ blocks publishers: run rabbitmqctl status to see which alarm (memory or disk) is on"
    return f"{type(error).__name__}: {error}"


class BrokerPublisher(Publisher):
    """Enqueues events on a broker without exchanges (embedded Redis, stub), according to the bindings."""

    def __init__(self, settings: Settings, broker: dramatiq.Broker | None = None) -> None:
        self._topology = Topology.of(settings)
        self._broker = broker or make_broker(settings)

    def publish_all(self, events: Sequence[OutgoingEvent]) -> dict[str, str]:
        refused = {event.event_id: self._enqueue(event) for event in events}
        return {event_id: reason for event_id, reason in refused.items() if reason}

    def _enqueue(self, event: OutgoingEvent) -> str | None:
        """Enqueue one event; return the error, if it failed."""
        queue = self._topology.event_queue(event.event_type)
        if queue is None:
            return confirms.UNROUTABLE
        try:
            # Refuse here what a worker on RabbitMQ would refuse.
            decoded = decode_event(event.body.encode("utf-8", "surrogatepass"))
        except InvalidEvent as error:
            return str(error)
        fields = event_message(decoded) | {"queue_name": queue, "options": event.trace}
        message: Message[None] = Message(**fields)
        try:
            self._broker.enqueue(message)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None

    def keep_alive(self) -> None:
        pass

    def close(self) -> None:
        self._broker.close()


def make_publisher(settings: Settings) -> Publisher:
    """Return the publisher for the settings' broker. It connects at the first event."""
    if settings.broker is Broker.RABBITMQ:
        return RabbitPublisher(settings)
    return BrokerPublisher(settings)

"""Enqueue deliveries on their channels' queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dramatiq.message import Message

from app.channels import CHANNELS, ChannelName
from app.messaging.topology import Topology
from app.telemetry import tracing

if TYPE_CHECKING:
    from dramatiq import Broker

    from app.models import Notification


class Dispatch:
    """Enqueues deliveries. A second message for the same delivery is harmless.

    Args:
        broker: receives the messages.
        topology: names of the queues.
    """

    def __init__(self, broker: Broker, topology: Topology) -> None:
        self._broker = broker
        self._topology = topology

    def __call__(
        self, notification: Notification, delay: int | None = None, *, given_up: bool = False
    ) -> None:
        """Queue one delivery.

        Args:
            notification: its record.
            delay: milliseconds until its first attempt.
            given_up: the delivery has failed permanently; the message becomes its dead letter.

        Raises:
            dramatiq.errors.BrokerConnectionError: the broker is unavailable.
        """
        channel = CHANNELS[ChannelName(notification.notification_type)]
        message: Message[None] = Message(
            queue_name=self.queue(channel.name),
            actor_name=channel.actor,
            args=(str(notification.id),),
            kwargs={"given_up": True} if given_up else {},
            options={tracing.TRACEPARENT: notification.traceparent} if notification.traceparent else {},
        )
        self._broker.enqueue(message, delay=delay)

    def queue(self, channel: ChannelName) -> str:
        """Return the full name of a channel's queue."""
        return self._topology.queue(CHANNELS[channel].queue)

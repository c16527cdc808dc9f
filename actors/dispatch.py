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
    """Queues deliveries. More than one message for a delivery does no harm.

    Args:
        broker: where to.
        topology: the queues' names.
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
            delay: milliseconds before it is tried.
            given_up: it has failed for good; the message becomes its dead letter.

        Raises:
            dramatiq.errors.BrokerConnectionError: the broker does not take it.
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

"""Names and arguments of the exchange, queues, and bindings.

    exchange movie_app_events (topic) ─ booking.* → notification.booking_events ┐
                                      └ payment.* → notification.payment_events ┴ notify → notification.email
                                                                                         └ notification.sms

The channels' queues hold deliveries that `notify` does not send inline.

Each queue has a `.DQ` beside it for delayed retries and an `.XQ` for dead letters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pika.exceptions

from app.messaging.queues import EVENT_QUEUES
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from app.settings import QueueType, Settings

log = get_logger(__name__)

#: RABBITMQ_QUEUE_TYPE → the arguments that make such a queue. A quorum queue keeps a dead letter until its
#: `.XQ` has confirmed it, which requires that it never drops its oldest messages:
#: https://www.rabbitmq.com/docs/quorum-queues#activating-at-least-once-dead-lettering
_TYPES: dict[QueueType, dict[str, Any]] = {
    "classic": {"x-queue-type": "classic"},
    "quorum": {
        "x-queue-type": "quorum",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    },
}

#: AMQP 0-9-1: reply codes of a declaration that differs from the existing queue, and of a queue that is not
#: found.
_PRECONDITION_FAILED, _NOT_FOUND = 406, 404


def is_on_a_node_that_is_down(refused: pika.exceptions.ChannelClosedByBroker) -> bool:
    """Return whether a queue exists on a node that is down. RabbitMQ returns 404, like for a missing
    queue."""
    return refused.reply_code == _NOT_FOUND and "down or inaccessible" in refused.reply_text


@dataclass(frozen=True)
class Topology:
    """The broker's names under one deployment's exchange and namespace, and the type of its queues."""

    exchange: str
    namespace: str = ""
    queue_type: QueueType = "classic"

    @classmethod
    def of(cls, settings: Settings) -> Topology:
        """Return the topology for `settings`."""
        return cls(settings.rabbitmq_exchange, settings.namespace, settings.rabbitmq_queue_type)

    def queue(self, name: str) -> str:
        """Return the full name of a queue."""
        return self.namespace + name

    @property
    def redis_namespace(self) -> str:
        """Return the prefix of Dramatiq's keys in Redis."""
        return f"{self.namespace}dramatiq"

    def event_queue(self, event_type: str) -> str | None:
        """Return the queue for events of `event_type`, or None."""
        name = EVENT_QUEUES.get(event_type.partition(".")[0])
        return name and self.queue(name)

    @property
    def event_queues(self) -> dict[str, str]:
        """Return full queue name → binding key, for every queue bound to the exchange."""
        return {self.queue(name): f"{family}.*" for family, name in EVENT_QUEUES.items()}

    def declare(self, channel: BlockingChannel, queue: str) -> None:
        """Declare `queue` with its `.DQ` and `.XQ`; for an event queue, also the exchange and the binding.

        Arguments can't be changed without deleting the queues (RabbitMQ returns 406). Existing queues of
        another type than the settings' are used unchanged.

        Raises:
            pika.exceptions.ChannelClosedByBroker: refused, because a permission is missing, or a foreign
            queue has that name.
        """
        # Dead letters are kept until an operator handles them: no TTL, unlike Dramatiq's seven days. Never a
        # quorum queue, even if that is the virtual host's default, because it drops messages that were read
        # too often. https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling
        _declare_dead_letters(channel, f"{queue}.XQ")
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{queue}.XQ"}
        self._declare(channel, f"{queue}.DQ", arguments)
        self._declare(channel, queue, arguments)
        binding = self.event_queues.get(queue)
        if binding:
            channel.exchange_declare(self.exchange, exchange_type="topic", durable=True)
            channel.queue_bind(queue, self.exchange, binding)

    def _declare(self, channel: BlockingChannel, name: str, arguments: dict[str, Any]) -> None:
        configured = self.queue_type
        try:
            _try_to_declare(channel, name, arguments | _TYPES[configured])
        except pika.exceptions.ChannelClosedByBroker as refused:
            if refused.reply_code != _PRECONDITION_FAILED:
                raise
            [other] = _TYPES.keys() - {configured}
            try:
                _try_to_declare(channel, name, arguments | _TYPES[other])
            except pika.exceptions.ChannelClosedByBroker:
                raise refused from None
            log.warning(
                "the type of the queue differs from RABBITMQ_QUEUE_TYPE, and it is used unchanged; "
                "docs/deployment.md says how to replace it",
                queue=name,
                queue_type=other,
                wanted=configured,
            )


def _declare_dead_letters(channel: BlockingChannel, name: str) -> None:
    """Declare a queue of dead letters, unless its node is down. No consumer needs it."""
    try:
        _try_to_declare(channel, name, _TYPES["classic"])
    except pika.exceptions.ChannelClosedByBroker as refused:
        if not is_on_a_node_that_is_down(refused):
            raise
        log.warning("the dead-letter queue is on a node that is down", queue=name)


def _try_to_declare(channel: BlockingChannel, name: str, arguments: dict[str, Any]) -> None:
    # A refused declaration closes its channel.
    with channel.connection.channel() as probe:
        probe.queue_declare(name, durable=True, arguments=arguments)

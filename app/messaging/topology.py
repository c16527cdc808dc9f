"""Names and arguments of everything on the broker, in one place.

    exchange movie_app_events (topic) ─ booking.* → notification.booking_events ┐
                                      └ payment.* → notification.payment_events ┴ notify → notification.email
                                                                                         └ notification.sms

The channels' queues hold what `notify` does not send on the spot.

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
#: `.XQ` has confirmed it, which only one that never drops its oldest messages may do.
#: https://www.rabbitmq.com/docs/quorum-queues#activating-at-least-once-dead-lettering
_TYPES: dict[QueueType, dict[str, Any]] = {
    "classic": {"x-queue-type": "classic"},
    "quorum": {
        "x-queue-type": "quorum",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    },
}

#: AMQP 0-9-1: reply codes of a declaration that differs from what stands, and of a queue that is not found.
_PRECONDITION_FAILED, _NOT_FOUND = 406, 404


def is_on_a_node_that_is_down(refused: pika.exceptions.ChannelClosedByBroker) -> bool:
    """Whether a queue exists on a node that is down. RabbitMQ says 404, as of a missing one."""
    return refused.reply_code == _NOT_FOUND and "down or inaccessible" in refused.reply_text


@dataclass(frozen=True)
class Topology:
    """The broker's names under one deployment's exchange and namespace, and the type of its queues."""

    exchange: str
    namespace: str = ""
    queue_type: QueueType = "classic"

    @classmethod
    def of(cls, settings: Settings) -> Topology:
        """The names that `settings` ask for."""
        return cls(settings.rabbitmq_exchange, settings.namespace, settings.rabbitmq_queue_type)

    def queue(self, name: str) -> str:
        """The full name of one of the queues above."""
        return self.namespace + name

    @property
    def redis_namespace(self) -> str:
        """The prefix of Dramatiq's keys, where the queues are on Redis."""
        return f"{self.namespace}dramatiq"

    def event_queue(self, event_type: str) -> str | None:
        """The queue that events of `event_type` go to, or None if nothing here takes them."""
        name = EVENT_QUEUES.get(event_type.partition(".")[0])
        return name and self.queue(name)

    @property
    def event_queues(self) -> dict[str, str]:
        """Full queue name → binding key, for every queue fed by the exchange."""
        return {self.queue(name): f"{family}.*" for family, name in EVENT_QUEUES.items()}

    def declare(self, channel: BlockingChannel, queue: str) -> None:
        """Declare `queue` with its `.DQ` and `.XQ` and, if events feed it, the exchange and the binding.

        The arguments can't be changed later without deleting the queues (RabbitMQ answers 406). Queues of
        ours that are of another type than the settings ask for are used as they stand.

        Raises:
            pika.exceptions.ChannelClosedByBroker: refused, for want of a permission or because a queue of
                that name is not one of ours.
        """
        # Dead letters wait for a person: no TTL, unlike Dramatiq's own seven days. And never a quorum queue,
        # though it may be the virtual host's default: that throws away what was looked at too often.
        # https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling
        _declare_dead_letters(channel, f"{queue}.XQ")
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{queue}.XQ"}
        self._declare(channel, f"{queue}.DQ", arguments)
        self._declare(channel, queue, arguments)
        binding = self.event_queues.get(queue)
        if binding:
            channel.exchange_declare(self.exchange, exchange_type="topic", durable=True)
            channel.queue_bind(queue, self.exchange, binding)

    def _declare(self, channel: BlockingChannel, name: str, arguments: dict[str, Any]) -> None:
        wanted = self.queue_type
        try:
            _try_to_declare(channel, name, arguments | _TYPES[wanted])
        except pika.exceptions.ChannelClosedByBroker as refused:
            if refused.reply_code != _PRECONDITION_FAILED:
                raise
            [other] = _TYPES.keys() - {wanted}
            try:
                _try_to_declare(channel, name, arguments | _TYPES[other])
            except pika.exceptions.ChannelClosedByBroker:
                raise refused from None
            log.warning(
                "the queue stands with another type than RABBITMQ_QUEUE_TYPE, and is used as it is; "
                "docs/deployment.md says how to replace it",
                queue=name,
                queue_type=other,
                wanted=wanted,
            )


def _declare_dead_letters(channel: BlockingChannel, name: str) -> None:
    """Declare a queue of dead letters, unless it stands on a node that is down. No consumer waits for it."""
    try:
        _try_to_declare(channel, name, _TYPES["classic"])
    except pika.exceptions.ChannelClosedByBroker as refused:
        if not is_on_a_node_that_is_down(refused):
            raise
        log.warning("the queue of dead letters is on a node that is down", queue=name)


def _try_to_declare(channel: BlockingChannel, name: str, arguments: dict[str, Any]) -> None:
    # A refusal closes the channel that asked.
    with channel.connection.channel() as asking:
        asking.queue_declare(name, durable=True, arguments=arguments)

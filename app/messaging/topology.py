"""Names and arguments of everything on the broker, in one place.

    exchange movie_app_events (topic) ─ booking.* → notification.booking_events ┐
                                      └ payment.* → notification.payment_events ┴ notify → notification.email
                                                                                         └ notification.sms

Each queue has a `.DQ` beside it for delayed retries and an `.XQ` for dead letters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from app.settings import Settings

#: First word of an event type → the queue that takes such events. A queue bound as `word.*`.
EVENT_QUEUES = {"booking": "notification.booking_events", "payment": "notification.payment_events"}
EMAIL_QUEUE = "notification.email"
SMS_QUEUE = "notification.sms"
QUEUES = (*EVENT_QUEUES.values(), EMAIL_QUEUE, SMS_QUEUE)

#: Actors by the name that messages carry. Publishers and consumers share these names and nothing else.
NOTIFY = "notify"
SEND_EMAIL = "send_email"
SEND_SMS = "send_sms"


@dataclass(frozen=True)
class Topology:
    """The broker's names under one deployment's exchange and namespace."""

    exchange: str
    namespace: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Topology:
        """The names that `settings` ask for."""
        return cls(settings.rabbitmq_exchange, settings.namespace)

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

        The arguments can't be changed later without deleting the queues (RabbitMQ answers 406).
        """
        arguments: dict[str, Any] = {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": f"{queue}.XQ",
        }
        # Dead letters wait for a person: no TTL, unlike Dramatiq's own seven days. And never a quorum queue,
        # though it may be the virtual host's default: that throws away what was looked at too often.
        # https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling
        channel.queue_declare(f"{queue}.XQ", durable=True, arguments={"x-queue-type": "classic"})
        channel.queue_declare(f"{queue}.DQ", durable=True, arguments=arguments)
        channel.queue_declare(queue, durable=True, arguments=arguments)
        binding = self.event_queues.get(queue)
        if binding:
            channel.exchange_declare(self.exchange, exchange_type="topic", durable=True)
            channel.queue_bind(queue, self.exchange, binding)

"""The actors of the worker, under the names that messages carry."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import dramatiq
from dramatiq.middleware import Middleware, Retries

from actors.deliver import Deliver, DeliveryFailed
from actors.email import EmailChannel
from actors.event_status import EventStatus
from actors.notify import Notify
from actors.sms import ConsoleSmsChannel
from actors.sweeps import Sweeps
from app.events.schemas import InvalidEvent
from app.messaging.broker import make_broker
from app.messaging.topology import EMAIL_QUEUE, NOTIFY, SEND_EMAIL, SEND_SMS, SMS_QUEUE, Topology

if TYPE_CHECKING:
    from app.settings import Settings

#: Milliseconds between retries of a message that failed for another reason than its delivery.
_MIN_BACKOFF, _MAX_BACKOFF = 1_000, 60_000

#: Retries of those; what is down for longer is found again by a person, in the dead letters.
_MAX_RETRIES = 30

#: Never retried: the message is at fault, or everything was tried.
_FINAL = (InvalidEvent, DeliveryFailed)


class Closing(Middleware):
    """Closes connections when the worker has finished its last message."""

    def __init__(self, *close: Callable[[], None]) -> None:
        self._close = close

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        for close in self._close:
            close()


def middleware(settings: Settings) -> list[Middleware]:
    """Dramatiq's middleware for a worker.

    No TimeLimit: it can't interrupt a blocked socket, and could strike between a mail's acceptance and its
    record; every call out of here has its own timeout.
    """
    return [
        Retries(max_retries=_MAX_RETRIES, min_backoff=_MIN_BACKOFF, max_backoff=_MAX_BACKOFF),
        Sweeps(settings),
    ]


def declare(broker: dramatiq.Broker, settings: Settings) -> None:
    """Declare every actor on `broker`."""
    topology = Topology.of(settings)
    status, email = EventStatus(settings), EmailChannel(settings)
    broker.add_middleware(Closing(status.close, email.close))
    notify = Notify(settings, broker, status)
    event_queues = list(topology.event_queues)
    actor = partial(dramatiq.actor, broker=broker, throws=_FINAL)
    actor(actor_name=NOTIFY, queue_name=event_queues[0])(notify)
    for queue in event_queues[1:]:
        broker.declare_queue(queue)
    for channel, name, queue in (
        (email, SEND_EMAIL, EMAIL_QUEUE),
        (ConsoleSmsChannel(settings.default_currency), SEND_SMS, SMS_QUEUE),
    ):
        deliver = Deliver(channel, settings.max_retry_attempts)
        actor(actor_name=name, queue_name=topology.queue(queue))(deliver)


def worker_broker(settings: Settings) -> dramatiq.Broker:
    """The broker of a worker process, with its actors."""
    broker = make_broker(settings, middleware(settings))
    dramatiq.set_broker(broker)
    declare(broker, settings)
    return broker

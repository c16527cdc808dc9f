"""Declare the worker's actors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING

import dramatiq
import redis
from dramatiq.middleware import Middleware

from actors.deliver import Deliver, DeliveryFailed, Sender
from actors.event_status import EventStatus
from actors.flooding import RecipientLimits
from actors.metrics import MessageMetrics
from actors.notify import Notify
from actors.receipts import Receipts
from actors.reminders import Reminders
from actors.retries import LosslessRetries
from actors.suppressed import SuppressedRecipients
from actors.sweeps import Sweeps
from actors.tracing import Tracing
from app.channels import CHANNELS, ChannelName
from app.events.decode import InvalidEvent
from app.messaging.broker import make_broker
from app.messaging.dispatch import Dispatch
from app.messaging.queues import NOTIFY
from app.messaging.topology import Topology
from app.privacy.erasures import make_erasures
from app.telemetry import tracing

if TYPE_CHECKING:
    from app.settings import Settings

#: Never retried: the message is invalid, or all attempts are used.
_FINAL = (InvalidEvent, DeliveryFailed)


class Serving(Middleware):
    """Middleware that records which queues this process's worker consumes."""

    def __init__(self) -> None:
        self._only: set[str] | None = None

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        self._only = worker.consumer_whitelist

    def __call__(self, queue: str) -> bool:
        """Return whether the worker consumes from `queue`."""
        return not self._only or queue in self._only


class Closing(Middleware):
    """Middleware that closes connections after the worker's last message."""

    def __init__(self, *close: Callable[[], None]) -> None:
        self._close = close

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        for close in self._close:
            close()


def middleware(settings: Settings) -> list[Middleware]:
    """Return Dramatiq's middleware for a worker.

    Without TimeLimit: it can't interrupt a blocked socket, and could fire between a mail's acceptance and its
    record. Every outgoing call has its own timeout.
    """
    # After a message, Dramatiq calls middleware in reverse order. Metrics therefore see the result of the
    # retries, and the span covers all of it.
    traced: list[Middleware] = [Tracing()] if tracing.enabled() else []
    return [*traced, MessageMetrics(settings.namespace), LosslessRetries()]


def declare(broker: dramatiq.Broker, settings: Settings) -> None:
    """Declare every actor on `broker`."""
    topology = Topology.of(settings)
    store = redis.Redis.from_url(
        settings.redis_url, socket_connect_timeout=0.5, socket_timeout=0.5, decode_responses=True
    )
    senders: dict[ChannelName, Sender] = {
        name: resolve_name(channel.factory)(settings) for name, channel in CHANNELS.items()
    }
    serving = Serving()
    broker.add_middleware(serving)
    closing = [sender.close for sender in senders.values()]
    broker.add_middleware(Closing(store.close, *closing, tracing.shutdown))
    receipts = Receipts(store, settings.namespace)
    limits = RecipientLimits(store, settings.namespace, settings.recipient_budgets)
    suppressed = SuppressedRecipients(settings)
    deliver = {
        name: Deliver(sender, receipts, settings.max_retry_attempts, suppressed, limits.exceeded)
        for name, sender in senders.items()
    }
    dispatch = Dispatch(broker, topology)
    reminders = Reminders(timedelta(hours=settings.reminder_hours), settings.default_timezone)
    notify = Notify(
        {name: deliver[name] for name, channel in CHANNELS.items() if channel.enabled(settings)},
        lambda channel: CHANNELS[channel].inline and serving(dispatch.queue(channel)),
        dispatch,
        EventStatus(store, settings.namespace),
        reminders,
        make_erasures(settings),
    )
    remind = partial(reminders.remind, notify.remind) if reminders.enabled else None

    def catch_up() -> None:
        for channel in deliver.values():
            channel.catch_up()

    broker.add_middleware(Sweeps(settings, remind, catch_up))
    actor = partial(dramatiq.actor, broker=broker, throws=_FINAL)
    event_queues = list(topology.event_queues)
    actor(actor_name=NOTIFY, queue_name=event_queues[0])(notify)
    for queue in event_queues[1:]:
        broker.declare_queue(queue)
    for name, channel in CHANNELS.items():
        actor(actor_name=channel.actor, queue_name=dispatch.queue(name))(deliver[name])


def worker_broker(settings: Settings) -> dramatiq.Broker:
    """Return the broker of a worker process, with its actors."""
    broker = make_broker(settings, middleware(settings))
    dramatiq.set_broker(broker)
    declare(broker, settings)
    return broker

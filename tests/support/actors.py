"""A worker on Dramatiq's stub broker. MongoDB, Redis, and the mail server under it are real."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import ConnectionClosed
from pymongo.collection import Collection
from pymongo.errors import WTimeoutError

from actors import deliveries
from actors.declare import worker_broker
from actors.sweeps import Sweeps
from app.channels import ChannelName
from app.clock import utcnow
from app.delivery_status import DeliveryStatus
from app.events.samples import sample
from app.messaging.dispatch import Dispatch
from app.messaging.publisher import BrokerPublisher, OutgoingEvent
from app.messaging.topology import Topology
from app.models import Notification
from app.settings import Settings

LogLines = Callable[[], list[dict[str, Any]]]

LEASE = timedelta(minutes=3)

EVENTS, PAYMENTS = "notification.booking_events", "notification.payment_events"
EMAIL, SMS = "notification.email", "notification.sms"


class StubWorker:
    """A worker on the stub broker. `publish` returns when all work for the event is done."""

    def __init__(
        self, settings: Settings, *, sweeping: bool, queues: set[str] | None, threads: int = 2
    ) -> None:
        broker = worker_broker(settings)
        assert isinstance(broker, StubBroker)
        if not sweeping:  # it would requeue overdue deliveries before the test does
            broker.middleware = [each for each in broker.middleware if not isinstance(each, Sweeps)]
        self.broker = broker
        self.topology = Topology.of(settings)
        self._queue = self.topology.queue
        served = queues and {self._queue(queue) for queue in queues}
        self.worker = dramatiq.Worker(broker, queues=served, worker_timeout=20, worker_threads=threads)
        self.worker.start()
        self._publisher = BrokerPublisher(settings, broker)

    def send(self, event: dict[str, Any]) -> None:
        """Publish without waiting."""
        self._publisher.publish(OutgoingEvent(event["event_id"], event["event_type"], json.dumps(event)))

    def publish(self, event: dict[str, Any]) -> None:
        self.send(event)
        self.join()

    def join(self) -> None:
        for queue in (EVENTS, PAYMENTS, EMAIL, SMS):
            self.broker.join(self._queue(queue), timeout=60_000, fail_fast=False)
        self.worker.join()

    def dead(self, queue: str) -> list[str]:
        return [message.actor_name for message in self.broker.dead_letters_by_queue[self._queue(queue)]]

    def send_email(self, notification_id: object) -> None:
        self.broker.enqueue(
            dramatiq.Message(self._queue(EMAIL), "send_email", (str(notification_id),), {}, {})
        )
        self.join()


def confirmation(**changes: Any) -> dict[str, Any]:
    """Return a booking.confirmed event for a show tomorrow."""
    soon = (utcnow() + timedelta(days=1)).isoformat()
    return sample("booking.confirmed") | {"showtime": soon} | changes


def record_delivery(event: dict[str, Any]) -> Notification:
    """Record the delivery of `event` by email without queuing it."""
    return deliveries.record(event, ChannelName.EMAIL, "booking_confirmation", event["user_email"])[0]


def refuse_once(stub: StubWorker, actor: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Make the broker refuse the first message for `actor`.

    Returns:
        A list that holds the refused message, once there is one.
    """
    refused: list[Any] = []
    enqueue = stub.broker.enqueue

    def refuse(message: Any, *, delay: int | None = None) -> Any:
        if message.actor_name == actor and not refused:
            refused.append(message)
            raise ConnectionClosed("down")
        return enqueue(message, delay=delay)

    monkeypatch.setattr(stub.broker, "enqueue", refuse)
    return refused


def acknowledge_late(monkeypatch: pytest.MonkeyPatch, status: DeliveryStatus) -> list[Any]:
    """Make MongoDB carry out the next write of `status` to a delivery, but not reach a majority in time.

    Returns:
        A list that holds the update, once there is one.
    """
    late: list[Any] = []
    real = Collection.update_one

    def write(self: Collection[Any], expected: Any, update: Any, **options: Any) -> Any:
        result = real(self, expected, update, **options)
        if self.name == "notification_logs" and not late and update["$set"].get("status") == status:
            late.append(update)
            raise WTimeoutError("waiting for replication timed out")
        return result

    monkeypatch.setattr(Collection, "update_one", write)
    return late


def make_overdue(record: Notification) -> None:
    """Make the delivery due a second ago."""
    Notification.objects(id=record.id).update_one(set__due_at=utcnow() - timedelta(seconds=1))


def sweep(stub: StubWorker) -> int:
    """Queue the overdue deliveries again, and wait until they are processed.

    Returns:
        The number of deliveries.
    """
    count = deliveries.requeue_overdue(Dispatch(stub.broker, stub.topology))
    stub.join()
    return count


class Suppressed:
    """A suppression list in memory.

    Attributes:
        reason: why every recipient is suppressed; None if none is.
        reported: deliveries whose recipients have unsubscribed.
    """

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason
        self.reported: list[Notification] = []

    def check(self, notification: Notification) -> str | None:
        return self.reason

    def unsubscribed(self, notification: Notification) -> None:
        self.reported.append(notification)

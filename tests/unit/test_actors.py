"""The actors on Dramatiq's stub broker; storage and SMTP underneath are real, each started in a second."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from actors import deliveries
from actors.declare import worker_broker
from app import models
from app.clock import utcnow
from app.messaging.publisher import BrokerPublisher, OutgoingEvent
from app.messaging.topology import Topology
from app.models import Notification
from app.settings import Settings
from tests.support.mail import MailSink

EVENTS, PAYMENTS = "notification.booking_events", "notification.payment_events"
EMAIL, SMS = "notification.email", "notification.sms"


class Stub:
    """A worker on the stub broker; `publish` returns when everything that follows from an event is done."""

    def __init__(self, settings: Settings) -> None:
        broker = worker_broker(settings)
        assert isinstance(broker, StubBroker)
        self.broker = broker
        self._queue = Topology.of(settings).queue
        self.worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=2)
        self.worker.start()
        self._publisher = BrokerPublisher(settings, broker)

    def publish(self, event: dict[str, Any]) -> None:
        self._publisher.publish(OutgoingEvent(event["event_id"], event["event_type"], json.dumps(event)))
        self.join()

    def join(self) -> None:
        for queue in (EVENTS, PAYMENTS, EMAIL, SMS):
            self.broker.join(self._queue(queue), timeout=10_000, fail_fast=False)
        self.worker.join()

    def dead(self, queue: str) -> list[str]:
        return [message.actor_name for message in self.broker.dead_letters_by_queue[self._queue(queue)]]

    def send_email(self, notification_id: object) -> None:
        self.broker.enqueue(
            dramatiq.Message(self._queue(EMAIL), "send_email", (str(notification_id),), {}, {})
        )
        self.join()


@pytest.fixture
def make_stub(stored_settings: Settings, mail_sink: MailSink) -> Iterator[Any]:
    models.connect(stored_settings)
    stubs: list[Stub] = []

    def make(**changes: Any) -> Stub:
        stubs.append(Stub(stored_settings.model_copy(update=mail_sink.settings | changes)))
        return stubs[-1]

    yield make
    for stub in stubs:
        stub.worker.stop()
        stub.broker.close()


def sample(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((Path(__file__).parents[1] / "events" / f"{name}.json").read_text())
    return event


def test_an_event_is_mailed_once_however_often_it_comes(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    for _ in range(3):
        stub.publish(sample("booking.confirmed"))
    assert len(mail_sink.mails) == 1
    assert Notification.objects.get().status == "sent"


def test_two_messages_for_one_delivery_send_once(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    stub.publish(sample("booking.confirmed"))
    record = Notification.objects.get()
    stub.send_email(record.id)
    assert len(mail_sink.mails) == 1


def test_email_and_sms_of_one_event_are_deliveries_of_their_own(make_stub: Any, mail_sink: MailSink) -> None:
    make_stub(sms_provider="console").publish(sample("booking.confirmed"))
    channels = {record.notification_type: record.status for record in Notification.objects}
    assert channels == {"email": "sent", "sms": "sent"}
    assert len(mail_sink.mails) == 1


def test_an_invalid_event_is_dead_lettered_unretried(make_stub: Any) -> None:
    stub = make_stub()
    stub.publish(sample("booking.confirmed") | {"seats": "A1"})
    assert stub.dead(EVENTS) == ["notify"]
    assert Notification.objects.count() == 0


def test_fields_that_nobody_reads_may_have_any_name(make_stub: Any, mail_sink: MailSink) -> None:
    extra = {"a.b": 1, "$c": {"d.e": [None, {"$f": 1}]}, "": 2}
    make_stub().publish(sample("booking.confirmed") | extra)
    assert len(mail_sink.mails) == 1
    assert Notification.objects.get().event_data["a.b"] == 1


def test_a_number_that_cant_be_stored_is_refused_at_once(make_stub: Any) -> None:
    stub = make_stub()
    stub.publish(sample("booking.confirmed") | {"big": 10**30})
    assert stub.dead(EVENTS) == ["notify"]


def test_retries_end_at_the_limit(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.deliver.delay", lambda retries: 10)
    mail_sink.replies = ["451 4.3.0 busy"] * 9
    stub = make_stub(max_retry_attempts=2)
    stub.publish(sample("booking.confirmed"))
    record = Notification.objects.get()
    assert (record.status, record.retry_count) == ("failed", 2)
    assert [attempt.outcome for attempt in record.attempts] == ["retrying", "retrying", "failed"]
    assert stub.dead(EMAIL) == ["send_email"]
    assert mail_sink.mails == []


def test_a_delivery_whose_worker_died_is_sent_when_its_lease_has_run_out(
    make_stub: Any, mail_sink: MailSink
) -> None:
    stub = make_stub()
    record = deliveries.record(sample("booking.confirmed"), "email", "booking_confirmation", "a@example.com")
    assert isinstance(deliveries.claim(str(record.id)), Notification)
    assert isinstance(deliveries.claim(str(record.id)), deliveries.Busy), "held by the first claim"
    Notification.objects(id=record.id).update_one(set__lease_until=utcnow() - timedelta(seconds=1))

    stub.send_email(record.id)
    assert len(mail_sink.mails) == 1


def test_a_recorded_delivery_that_was_never_queued_is_queued_when_the_event_comes_again(
    make_stub: Any, mail_sink: MailSink
) -> None:
    event = sample("booking.confirmed")
    deliveries.record(event, "email", "booking_confirmation", event["user_email"])
    make_stub().publish(event)
    assert len(mail_sink.mails) == 1

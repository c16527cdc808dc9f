"""Events become mails, on both brokers: a Dramatiq worker in this process with real servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from email.message import EmailMessage
from typing import Any

import dramatiq
import pika
import pytest
import redis

from actors.declare import worker_broker
from app import models
from app.events.catalog import CATALOG
from app.events.samples import sample, sample_names
from app.messaging.dead_letters import open_dead_letters
from app.messaging.publisher import OutgoingEvent, make_publisher
from app.models import Notification
from app.operations.dead_letters import Selection, find
from app.settings import Settings
from tests.support.mail import MailSink
from tests.support.wait import wait_for

Publish = Callable[[dict[str, Any]], None]


@pytest.fixture
def worker_settings(broker_settings: Settings, mail_sink: MailSink) -> Settings:
    return broker_settings.model_copy(update=mail_sink.settings)


@pytest.fixture
def worker(worker_settings: Settings) -> Iterator[dramatiq.Worker]:
    models.connect(worker_settings)
    broker = worker_broker(worker_settings)
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
    worker.start()
    yield worker
    worker.stop()
    broker.close()


@pytest.fixture
def publish(worker_settings: Settings, worker: dramatiq.Worker) -> Iterator[Publish]:
    publisher = make_publisher(worker_settings)

    def publish(event: dict[str, Any]) -> None:
        publisher.publish(OutgoingEvent(event["event_id"], event["event_type"], json.dumps(event)))

    yield publish
    publisher.close()


def delivery(event: dict[str, Any], status: str, channel: str = "email") -> Notification:
    def finished() -> Notification | None:
        found: Notification | None = Notification.objects(
            event_id=event["event_id"], notification_type=channel, status=status
        ).first()
        return found

    return wait_for(finished, 10, f"{event['event_id']} did not become {status}")


#: Samples of events that become mails, and of those that are for other services only.
MAILED = [name for name in sample_names() if CATALOG[sample(name)["event_type"]].template]
NOT_MAILED = sorted(set(sample_names()) - set(MAILED))


@pytest.mark.parametrize("name", NOT_MAILED)
def test_an_event_for_other_services_is_ignored(
    publish: Publish,
    mail_sink: MailSink,
    worker_settings: Settings,
    dead_letters: Callable[[Settings, str], int],
    name: str,
) -> None:
    event = sample(name)
    publish(event)
    key = f"{worker_settings.namespace}event:{event['event_id']}:status"
    with closing(redis.Redis.from_url(worker_settings.redis_url, decode_responses=True)) as store:
        wait_for(lambda: store.get(key) == "processed", 5, "the status in Redis")
    assert Notification.objects(event_id=event["event_id"]).count() == 0
    assert mail_sink.mails == []
    assert dead_letters(worker_settings, "notification.payment_events") == 0


@pytest.mark.parametrize("name", MAILED)
def test_every_event_type_becomes_a_mail(publish: Publish, mail_sink: MailSink, name: str) -> None:
    event = sample(name)
    publish(event)
    mail = mail_sink.wait(1)[0]
    assert mail["To"] == event["user_email"]
    text, html = parts(mail)
    assert event["booking_id"] in text
    assert event["booking_id"] in html
    record = delivery(event, "sent")
    assert record.subject == mail["Subject"]
    assert record.message_id == mail["Message-ID"]
    assert record.recipient == event["user_email"]
    assert record.sent_at is not None


def parts(mail: EmailMessage) -> tuple[str, str]:
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text
    assert html
    return text.get_content(), html.get_content()


def test_a_repeated_event_sends_nothing(
    publish: Publish, mail_sink: MailSink, worker_settings: Settings
) -> None:
    event = sample("booking.confirmed")
    publish(event)
    delivery(event, "sent")
    key = f"{worker_settings.namespace}event:{event['event_id']}:status"
    store = redis.Redis.from_url(worker_settings.redis_url, decode_responses=True)
    wait_for(lambda: store.get(key) == "processed", 5, "the status in Redis")
    assert 0 < store.ttl(key) <= 24 * 3600

    publish(event)
    store.delete(key)  # as if Redis had lost it
    publish(event)
    store.close()
    other = sample("booking.refunded")
    publish(other)
    delivery(other, "sent")
    assert len(mail_sink.mails) == 2
    assert Notification.objects(event_id=event["event_id"]).count() == 1


def test_an_event_without_an_address_is_skipped_and_logged(publish: Publish, mail_sink: MailSink) -> None:
    event = sample("payment.success") | {"user_email": None}
    publish(event)
    assert delivery(event, "skipped").error_message == "the event names no recipient"
    assert mail_sink.mails == []


def test_an_event_that_cannot_be_mailed_is_dead_lettered_and_the_next_one_is_sent(
    publish: Publish,
    mail_sink: MailSink,
    worker_settings: Settings,
    dead_letters: Callable[[Settings, str], int],
) -> None:
    broken = sample("booking.confirmed")
    del broken["movie_title"]
    publish(broken)
    event = sample("booking.cancelled")
    publish(event)
    delivery(event, "sent")
    wait_for(lambda: dead_letters(worker_settings, "notification.booking_events") == 1, 5, "no dead letter")
    assert len(mail_sink.mails) == 1


def test_a_temporary_refusal_is_retried(
    publish: Publish, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.deliver.delay", lambda retries: 50)
    mail_sink.replies = ["451 4.7.1 greylisted, come back later"]
    event = sample("payment.failed")
    publish(event)
    record = delivery(event, "sent")
    assert record.retry_count == 1
    assert [attempt.outcome for attempt in record.attempts] == ["retrying", "sent"]
    assert "greylisted" in record.attempts[0].detail
    assert len(mail_sink.mails) == 1


def test_a_nonexistent_recipient_fails_without_a_retry(
    publish: Publish,
    mail_sink: MailSink,
    worker_settings: Settings,
    dead_letters: Callable[[Settings, str], int],
) -> None:
    mail_sink.replies = ["550 5.1.1 no such user"]
    event = sample("payment.refund")
    publish(event)
    assert "no such user" in delivery(event, "failed").error_message
    wait_for(lambda: dead_letters(worker_settings, "notification.email") == 1, 5, "no dead letter")


def test_a_publisher_needs_only_an_amqp_client(
    rabbit_settings: Settings, mail_sink: MailSink, dead_letters: Callable[[Settings, str], int]
) -> None:
    settings = rabbit_settings.model_copy(update=mail_sink.settings)
    models.connect(settings)
    broker: Any = worker_broker(settings)
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
    worker.start()
    wait_for(lambda: not broker.queues_pending, 10, "the worker did not declare its queues")
    event = sample("booking.confirmed.minimal")
    connection = pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url))
    channel = connection.channel()
    for body in (json.dumps(event), "no json", json.dumps({"actor_name": "send_email", "queue_name": "x"})):
        channel.basic_publish(settings.rabbitmq_exchange, "booking.confirmed", body.encode())
    forged = dramatiq.Message("x", "send_email", ("1",), {}, {}).encode()
    channel.basic_publish(settings.rabbitmq_exchange, "booking.confirmed", forged)
    # The publisher may publish booking events, but the body is a payment event.
    crossed = sample("payment.success")
    channel.basic_publish(settings.rabbitmq_exchange, "booking.confirmed", json.dumps(crossed).encode())
    connection.close()

    delivery(event, "sent")
    [mail] = mail_sink.wait(1)
    assert "Tom & Jerry's" in mail["Subject"]
    wait_for(lambda: dead_letters(settings, "notification.booking_events") == 4, 20, "dead letters")
    assert not Notification.objects(event_id=crossed["event_id"]).count()
    with closing(open_dead_letters(settings)) as letters:
        queue = f"{settings.namespace}notification.booking_events"
        reasons = [case.error for case in find(letters, [queue], Selection())]
    assert "the event_type payment.success differs from the routing key booking.confirmed" in reasons
    worker.stop()
    counts = broker.get_queue_message_counts(f"{settings.namespace}notification.booking_events")
    assert counts == (0, 0, 4), "every message was acknowledged or dead-lettered"
    broker.close()

"""RABBITMQ_QUEUE_TYPE=quorum: the same guarantees on replicated queues, also with existing queues."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
import pika
import pika.exceptions
import pytest

from actors.declare import worker_broker
from app import models
from app.events.samples import sample
from app.messaging.dead_letters import open_dead_letters
from app.messaging.publisher import OutgoingEvent, PublishError, make_publisher
from app.messaging.queues import QUEUES
from app.messaging.topology import Topology
from app.models import Notification
from app.settings import QueueType, Settings
from tests.support.mail import MailSink
from tests.support.wait import wait_for

BOOKINGS = "notification.booking_events"


@pytest.fixture
def quorum(rabbit_settings: Settings, mail_sink: MailSink) -> Settings:
    return rabbit_settings.model_copy(update=mail_sink.settings | {"rabbitmq_queue_type": "quorum"})


@contextmanager
def working(settings: Settings) -> Iterator[None]:
    """A worker in this process."""
    models.connect(settings)
    broker = worker_broker(settings)
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
    worker.start()
    try:
        yield
    finally:
        worker.stop()
        broker.close()


def publish(settings: Settings, event_id: str, **changes: Any) -> None:
    event = sample("booking.confirmed") | {"event_id": event_id} | changes
    outgoing = OutgoingEvent(event_id, event["event_type"], json.dumps(event))
    publisher = make_publisher(settings)

    def confirmed() -> bool:
        # Retried as in the outbox, because a quorum queue declared concurrently may refuse its first message.
        try:
            publisher.publish(outgoing)
        except PublishError:
            return False
        return True

    wait_for(confirmed, 20, "not confirmed")
    publisher.close()


def sent(event_id: str) -> Notification:
    found: Notification = wait_for(
        lambda: Notification.objects(event_id=event_id, status="sent").first(), 20, f"{event_id} was not sent"
    )
    return found


def queue_type(settings: Settings, name: str) -> str:
    """Return the type of a queue, from RabbitMQ's refusal of a declaration with another type."""
    full = settings.namespace + name
    quorum_but_for_the_type = {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": f"{full.removesuffix('.DQ')}.XQ",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-queue-type": "classic",
    }
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        connection.channel().queue_declare(full, passive=True)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
            connection.channel().queue_declare(full, durable=True, arguments=quorum_but_for_the_type)
    return "quorum" if "current is 'quorum'" in refused.value.reply_text else "classic"


def test_retries_and_dead_letters_work_on_quorum_queues(
    quorum: Settings, mail_sink: MailSink, dead_letters: Callable[[Settings, str], int]
) -> None:
    mail_sink.replies = ["451 4.7.1 greylisted, come back later"]
    with working(quorum):
        publish(quorum, "evt_greylisted")
        assert [attempt.outcome for attempt in sent("evt_greylisted").attempts] == ["retrying", "sent"]

        publish(quorum, "evt_bad", seats="A1")
        wait_for(lambda: dead_letters(quorum, BOOKINGS) == 1, 20, "no dead letter")

    store = open_dead_letters(quorum)
    queue = quorum.namespace + BOOKINGS
    for letter in store.read(queue, ahead=10):
        assert letter.event is not None
        assert letter.event["event_id"] == "evt_bad"
        store.replay(letter)
    assert store.count(queue) == 0
    store.close()

    for name in QUEUES:
        assert [queue_type(quorum, name + suffix) for suffix in ("", ".DQ", ".XQ")] == [
            "quorum",
            "quorum",
            "classic",
        ]


@pytest.mark.parametrize(("declared", "configured"), [("classic", "quorum"), ("quorum", "classic")])
def test_existing_queues_of_the_other_type_are_used_until_they_are_deleted(
    quorum: Settings,
    log_lines: Callable[[], list[dict[str, Any]]],
    declared: QueueType,
    configured: QueueType,
) -> None:
    before = quorum.model_copy(update={"rabbitmq_queue_type": declared})
    topology = Topology.of(before)
    with pika.BlockingConnection(pika.URLParameters(before.rabbitmq_url)) as connection:
        for name in QUEUES:
            topology.declare(connection.channel(), topology.queue(name))
    publish(before, "evt_waiting")
    settings = quorum.model_copy(update={"rabbitmq_queue_type": configured})
    with working(settings):
        sent("evt_waiting")
        publish(settings, "evt_later")
        sent("evt_later")
    assert queue_type(settings, BOOKINGS) == declared
    said = [line for line in log_lines() if "RABBITMQ_QUEUE_TYPE" in line["message"]]
    own = [topology.queue(name) + suffix for name in QUEUES for suffix in ("", ".DQ")]
    assert {line["queue"] for line in said} == set(own)
    assert {(line["level"], line["queue_type"], line["wanted"]) for line in said} == {
        ("warning", declared, configured)
    }

    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        for queue in own:
            # RabbitMQ supports that condition only for classic queues.
            connection.channel().queue_delete(queue, if_empty=declared == "classic")
    with working(settings):
        publish(settings, "evt_after")
        sent("evt_after")
    assert queue_type(settings, BOOKINGS) == configured


def test_a_queue_with_foreign_arguments_is_refused(quorum: Settings) -> None:
    topology = Topology.of(quorum)
    queue = topology.queue("notification.sms")
    with pika.BlockingConnection(pika.URLParameters(quorum.rabbitmq_url)) as connection:
        connection.channel().queue_declare(queue, durable=True)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
            topology.declare(connection.channel(), queue)
    assert refused.value.reply_code == 406

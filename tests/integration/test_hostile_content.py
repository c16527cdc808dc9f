"""Hostile content: refused immediately with a reason, and shown safely by every tool."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import dramatiq
import pika
import pytest

from actors.declare import worker_broker
from app import models
from app.clock import utcnow
from app.events.samples import sample
from app.messaging.dead_letters import open_dead_letters
from app.models import Attempt, Notification
from app.operations.dead_letters import Selection, find
from app.settings import Settings
from tests.support.commands import movieapp
from tests.support.dead_letters import bury
from tests.support.hostile import CORPUS, ODD
from tests.support.mail import MailSink
from tests.support.wait import wait_for

QUEUE = "notification.booking_events"
ROUTING_KEY = "booking.confirmed"

#: Hostile content that the tools have to display.
STORED = [*CORPUS.values(), *ODD.values()]


@contextmanager
def working(settings: Settings) -> Iterator[dramatiq.Broker]:
    """A worker in this process whose queues are declared."""
    models.connect(settings)
    broker: Any = worker_broker(settings)
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
    worker.start()
    try:
        wait_for(lambda: not broker.queues_pending, 10, "the worker did not declare its queues")
        yield broker
    finally:
        worker.stop()
        broker.close()


def publish(settings: Settings, *bodies: bytes, key: str = ROUTING_KEY, **properties: Any) -> None:
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for body in bodies:
            channel.basic_publish(
                settings.rabbitmq_exchange, key, body, pika.BasicProperties(delivery_mode=2, **properties)
            )


def dead(settings: Settings, queue: str = QUEUE) -> dict[bytes, str | None]:
    """Return body → stored reason."""
    with closing(open_dead_letters(settings)) as letters:
        return {letter.body: letter.reason for letter in letters.read(settings.namespace + queue)}


def test_hostile_messages_are_refused_with_a_reason_and_the_next_event_is_mailed(
    rabbit_settings: Settings, mail_sink: MailSink
) -> None:
    settings = rabbit_settings.model_copy(update=mail_sink.settings)
    with working(settings):
        started = time.monotonic()
        publish(settings, *CORPUS.values())
        publish(settings, json.dumps(sample("booking.confirmed")).encode())
        mail_sink.wait(1)
        wait_for(lambda: len(dead(settings)) == len(CORPUS), 20, "not all were dead-lettered")
        assert time.monotonic() - started < 30
    reasons = dead(settings)
    assert reasons.keys() == set(CORPUS.values())
    for name, body in CORPUS.items():
        reason = reasons[body]
        assert reason, name
        assert reason.isprintable(), name
        assert len(reason) <= 500, name
    assert "publish the event as plain JSON" in str(reasons[CORPUS["envelope in ten years"]])
    assert "differs from the routing key booking.confirmed" in str(reasons[CORPUS["other type"]])


def test_messages_delayed_by_ten_years_do_not_delay_others(
    rabbit_settings: Settings, mail_sink: MailSink
) -> None:
    settings = rabbit_settings.model_copy(update=mail_sink.settings)
    delayed: list[dramatiq.Message[None]] = [
        dramatiq.Message(QUEUE, "notify", (sample("booking.confirmed"),), {}, {"eta": 2_100_000_000_000 + n})
        for n in range(60)
    ]
    with working(settings):
        publish(settings, *(message.encode() for message in delayed))
        publish(settings, json.dumps(sample("booking.cancelled")).encode(), key="booking.cancelled")
        mail_sink.wait(1)
        wait_for(lambda: len(dead(settings)) == 60, 20, "not all were dead-lettered")


def test_a_copy_with_another_routing_key_is_a_dead_letter(
    rabbit_settings: Settings, mail_sink: MailSink
) -> None:
    """Before RabbitMQ 4.0.3, `CC` and `BCC` bypass topic permissions."""
    settings = rabbit_settings.model_copy(update=mail_sink.settings)
    forged = json.dumps(sample("payment.success")).encode()

    def both_are_dead(queue: str) -> bool:
        return len(dead(settings, queue)) == 2

    with working(settings):
        publish(settings, forged, headers={"CC": ["payment.success"]})
        publish(settings, forged + b" ", headers={"BCC": ["payment.success"]})
        for queue in (QUEUE, "notification.payment_events"):
            wait_for(partial(both_are_dead, queue), 20, "not dead-lettered")
            for reason in dead(settings, queue).values():
                assert reason == (
                    "the event_type payment.success differs from the routing key booking.confirmed"
                )
    assert not Notification.objects.count()
    assert mail_sink.mails == []


def test_a_publishers_headers_can_neither_forge_a_reason_nor_route_a_message(
    rabbit_settings: Settings, mail_sink: MailSink
) -> None:
    settings = rabbit_settings.model_copy(update=mail_sink.settings)
    forged = {
        "movieapp-reason": "all is well",
        "movieapp-exchange": "",
        "x-death": [{"queue": settings.namespace + QUEUE, "reason": "rejected", "exchange": "", "count": 1}],
        "CC": ["booking.other"],
        "kept": "yes",
    }
    with working(settings):
        publish(settings, CORPUS["envelope"], headers=forged, expiration="600000")
        wait_for(lambda: dead(settings), 20, "not dead-lettered")
    with closing(open_dead_letters(settings)) as letters:
        [letter] = letters.read(settings.namespace + QUEUE)
    assert (
        letter.reason == letter.refusal == "the body is a Dramatiq message: publish the event as plain JSON"
    )
    _tag, properties = letter.handle
    assert (properties.headers["kept"], properties.expiration) == ("yes", None)
    assert "CC" not in properties.headers


def test_a_replayed_invalid_message_is_refused_again(rabbit_settings: Settings, mail_sink: MailSink) -> None:
    settings = rabbit_settings.model_copy(update=mail_sink.settings)
    with working(settings):
        publish(settings, CORPUS["envelope with options"], json.dumps(sample("booking.cancelled")).encode())
        wait_for(lambda: len(dead(settings)) == 2, 20, "not dead-lettered")
        done = movieapp(settings, "dead-letters", "replay", "--yes")
    assert done.returncode == 1
    assert "0 replayed" in done.stdout
    assert done.stderr.count("a replay would bypass the check that refused the message") == 2
    assert len(dead(settings)) == 2


@pytest.fixture
def stored(broker_settings: Settings) -> Settings:
    """The corpus in every queue's dead letters, and as the event of a delivery where MongoDB can store it."""
    models.connect(broker_settings)
    for queue in (QUEUE, "notification.payment_events", "notification.email"):
        bury(broker_settings, queue, STORED)
    texts = ["\x1b]0;taken\x07\x1b[2J", "\u202egnp.exe", "\0", "x" * 300_000, "[red]<b>\r\n\t", "{{ 7*7 }}"]
    deep: dict[str, Any] = {}
    for _ in range(60):
        deep = {"x": deep}
    for number, text in enumerate(texts):
        Notification(
            event_id=f"evt_{number}{text[:50]}",
            event_type=text[:200],
            notification_type="email",
            status="failed",
            booking_id=f"BOOK-HOSTILE{text[:50]}",
            recipient=text[:200],
            template="booking_confirmation",
            event_data={"event_id": text, "user_name": text, "deep": deep, "huge": 2**63 - 1, "list": [text]},
            created_at=utcnow(),
            error_message=text,
            attempts=[Attempt(at=utcnow(), outcome="failed", detail=text)],
        ).save()
    return broker_settings


def test_every_tool_shows_hostile_content_without_acting_on_it(stored: Settings) -> None:
    listing = movieapp(stored, "dead-letters", "list", "--json", "--limit", "1000")
    assert listing.returncode == 0, listing.stderr
    letters = json.loads(listing.stdout)
    assert len(letters) == 3 * len(STORED)
    by_queue = [letter for letter in letters if letter["queue"] == "notification.email"]
    assert all(letter["error"] for letter in by_queue)
    commands = [
        ("dead-letters", "list", "--limit", "1000"),
        ("dead-letters", "replay", "--dry-run"),
        ("notifications", "list"),
        ("stats", "--json"),
        ("trace", "BOOK-HOSTILE[red]<b>\r\n\t"),
        *(("dead-letters", "show", letter["id"]) for letter in by_queue[::9]),
        *(("notifications", "show", str(found.id)) for found in Notification.objects.only("id").limit(3)),
    ]
    for command in commands:
        done = movieapp(stored, *command)
        said = done.stdout + done.stderr
        assert done.returncode in (0, 1), (command, said[-500:])
        assert "Traceback" not in said, command
        assert "\x1b" not in said, command
        assert "\u202e" not in said, command
        assert "\0" not in said, command


def test_every_dead_letter_can_be_read_and_selected(stored: Settings) -> None:
    with closing(open_dead_letters(stored)) as letters:
        for queue in (QUEUE, "notification.payment_events", "notification.email"):
            cases = list(find(letters, [stored.namespace + queue], Selection(error="e", event_type=None)))
            for case in cases:
                assert case.error is None or case.error.isprintable()
                assert len(case.letter.id) == 12
                assert isinstance(case.letter.revived, bytes)

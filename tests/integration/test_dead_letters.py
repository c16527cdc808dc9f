"""Dead letters on both brokers: read without changes, replayed, and dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import islice
from typing import Any

import pika
import pytest
import redis

from app.clock import utcnow
from app.errors import ServiceUnavailable
from app.messaging.dead_letters import DeadLetter, DeadLetters, open_dead_letters
from app.settings import Settings
from tests.support.dead_letters import bury, delivery_message

QUEUE = "notification.email"


@pytest.fixture
def letters(broker_settings: Settings) -> Iterator[DeadLetters]:
    with closing(open_dead_letters(broker_settings)) as letters:
        yield letters


@pytest.fixture
def queue(broker_settings: Settings) -> str:
    return broker_settings.namespace + QUEUE


def bodies(letters: DeadLetters, queue: str) -> list[bytes]:
    return [letter.body for letter in letters.read(queue)]


def alive(settings: Settings, queue: str) -> list[tuple[bytes, pika.BasicProperties]]:
    """Remove and return the messages on a regular queue."""
    if settings.rabbitmq_url.startswith("redis"):
        key = f"{settings.namespace}dramatiq:{queue}"
        with redis.Redis.from_url(settings.rabbitmq_url) as store:
            names: Any = store.lrange(key, 0, -1)
            found: Any = store.hmget(f"{key}.msgs", names) if names else []
            return [(body, pika.BasicProperties()) for body in found]
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        channel = connection.channel()
        count = channel.queue_declare(queue, passive=True).method.message_count
        return [channel.basic_get(queue, auto_ack=True)[:0:-1] for _ in range(count)]


def numbered(count: int) -> list[bytes]:
    return [b'{"event_type": "payment.success", "number": %d}' % number for number in range(count)]


def test_an_undeclared_queue_has_no_dead_letters(letters: DeadLetters, queue: str) -> None:
    assert letters.count(queue) == 0
    assert list(letters.read(queue)) == []


def test_reading_dead_letters_changes_neither_their_number_nor_their_order(
    letters: DeadLetters, broker_settings: Settings, queue: str
) -> None:
    expected = numbered(1_200)
    bury(broker_settings, QUEUE, expected)
    for _ in range(2):
        assert letters.count(queue) == 1_200
        assert bodies(letters, queue) == expected
    for _ in range(5):
        # RabbitMQ has already sent most of the others when the reader stops.
        with closing(letters.read(queue)) as some:
            assert [letter.body for letter in islice(some, 7)] == expected[:7]
        assert letters.count(queue) == 1_200
    assert bodies(letters, queue) == expected
    ages = {utcnow() - letter.died_at for letter in letters.read(queue) if letter.died_at}
    assert min(ages) > timedelta(seconds=-1)
    assert max(ages) < timedelta(minutes=2)


def test_replay_and_drop_affect_only_selected_dead_letters_and_keep_the_order(
    letters: DeadLetters, broker_settings: Settings, queue: str
) -> None:
    # With a small prefetch, RabbitMQ's reader has to restart several times at its position.
    expected = numbered(1_000)
    bury(broker_settings, QUEUE, expected)
    seen = []
    for number, letter in enumerate(letters.read(queue, ahead=10)):
        seen.append(letter.body)
        if number % 5 == 0:
            letters.replay(letter)
        elif number % 5 == 1:
            letters.drop(letter)
    assert seen == expected
    assert bodies(letters, queue) == [body for n, body in enumerate(expected) if n % 5 > 1]
    assert [body for body, _ in alive(broker_settings, queue)] == expected[::5]


def test_a_message_that_fails_again_during_a_replay_is_not_replayed_twice(
    letters: DeadLetters, broker_settings: Settings, queue: str
) -> None:
    bury(broker_settings, QUEUE, numbered(5))
    read = 0
    for letter in letters.read(queue, ahead=2):
        read += 1
        letters.drop(letter)
        bury(broker_settings, QUEUE, [b"dead again"])
    assert read == 5
    assert bodies(letters, queue) == [b"dead again"] * 5


def test_a_replayed_message_starts_with_no_retries_used(
    letters: DeadLetters, broker_settings: Settings, queue: str
) -> None:
    noted = {"retries": 5, "traceback": "…\nValueError: first", "requeue_timestamp": 1, "eta": 2}
    body = delivery_message(broker_settings, "0" * 24, **noted, traceparent="kept")
    bury(broker_settings, QUEUE, [body])
    for letter in letters.read(queue, ahead=1):
        assert (letter.actor, letter.notification_id) == ("send_email", "0" * 24)
        assert letter.first_error == "ValueError: first"
        letters.replay(letter)
    ((revived, _),) = alive(broker_settings, queue)
    before, after = json.loads(body), json.loads(revived)
    assert after["options"].pop("traceparent") == "kept"
    assert after["options"].keys() <= {"redis_message_id"}
    assert {**before, "options": {}} == {**after, "options": {}}


@pytest.mark.parametrize(
    "body",
    [b"\xff\xfe no text", b"{no json", b'"a string"', b'{"no": "event"}', b"[" * 100_000, b""],
    ids=["utf-8", "json", "object", "event", "deep", "empty"],
)
def test_an_undecodable_body_is_replayed_unchanged(
    letters: DeadLetters, broker_settings: Settings, queue: str, body: bytes
) -> None:
    bury(broker_settings, QUEUE, [body])
    for letter in letters.read(queue, ahead=1):
        assert letter.refusal
        assert len(letter.refusal) < 200
        assert (letter.actor, letter.event, letter.notification_id) == (None, None, None)
        letters.replay(letter)
    assert [found for found, _ in alive(broker_settings, queue)] == [body]
    assert letters.count(queue) == 0


def test_an_event_is_replayed_with_its_properties_to_its_own_queue_only(rabbit_settings: Settings) -> None:
    queue = rabbit_settings.namespace + QUEUE
    elsewhere = f"{rabbit_settings.namespace}notification.sms"
    bury(rabbit_settings, "notification.sms", [])
    bury(
        rabbit_settings,
        QUEUE,
        numbered(1),
        content_type="application/json",
        message_id="evt_1",
        user_id="guest",
        headers={"trace": "1"},
    )
    with closing(open_dead_letters(rabbit_settings)) as letters:
        for letter in letters.read(queue, ahead=1):
            assert isinstance(letter, DeadLetter)
            _tag, properties = letter.handle
            properties.headers["CC"] = [elsewhere]
            letters.replay(letter)
    ((_, properties),) = alive(rabbit_settings, queue)
    assert (properties.content_type, properties.message_id) == ("application/json", "evt_1")
    assert (properties.delivery_mode, properties.headers) == (2, {"trace": "1"})
    assert alive(rabbit_settings, elsewhere) == []


def test_concurrent_commands_report_correct_counts(rabbit_settings: Settings) -> None:
    bury(rabbit_settings, QUEUE, numbered(3))
    queue = rabbit_settings.namespace + QUEUE
    with closing(open_dead_letters(rabbit_settings)) as letters:
        with closing(letters.read(queue)) as first:
            next(first)
            with pytest.raises(ServiceUnavailable, match="Another command"):
                letters.count(queue)
        assert letters.count(queue) == 3


def test_a_dead_letter_without_a_queue_is_not_replayed(rabbit_settings: Settings) -> None:
    bury(rabbit_settings, QUEUE, numbered(1))
    queue = rabbit_settings.namespace + QUEUE
    with pika.BlockingConnection(pika.URLParameters(rabbit_settings.rabbitmq_url)) as connection:
        connection.channel().queue_delete(queue)
    with closing(open_dead_letters(rabbit_settings)) as letters:
        with closing(letters.read(queue, ahead=1)) as found, pytest.raises(ServiceUnavailable, match=queue):
            letters.replay(next(found))
        assert letters.count(queue) == 1


def test_an_unavailable_broker_is_an_expected_failure(broker_settings: Settings) -> None:
    scheme = broker_settings.rabbitmq_url.partition("://")[0]
    unavailable = broker_settings.model_copy(update={"rabbitmq_url": f"{scheme}://127.0.0.1:1/"})
    with (
        closing(open_dead_letters(unavailable)) as letters,
        pytest.raises(ServiceUnavailable, match="is unavail"),
    ):
        letters.count("any")

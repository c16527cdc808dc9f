"""Foundations of the tests: real servers, unique names, and no silent skips."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pika
import pika.exceptions
import pymongo
import pymongo.errors
import pytest
import redis

from app.settings import Settings
from tests.support.ports import free_port
from tests.support.servers import RedisServer
from tests.support.services import PrivateRabbitMQ, with_database
from tests.support.traces import remove_queues, remove_stored
from tests.support.wait import wait_for

ROOT = Path(__file__).parents[2]
KEPT = "kept"

PERSISTENT = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent)


def test_rabbitmq_returns_a_published_message(rabbit_settings: Settings) -> None:
    exchange, queue = rabbit_settings.rabbitmq_exchange, f"{rabbit_settings.namespace}notification.email"
    with pika.BlockingConnection(pika.URLParameters(rabbit_settings.rabbitmq_url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.exchange_declare(exchange, exchange_type="topic", durable=True)
        channel.queue_declare(queue, durable=True)
        channel.queue_bind(queue, exchange, "booking.*")
        channel.basic_publish(exchange, "booking.confirmed", b"{}", PERSISTENT, mandatory=True)
        method, _, body = next(channel.consume(queue, inactivity_timeout=5))
        assert (method.routing_key, body) == ("booking.confirmed", b"{}")
        channel.basic_ack(method.delivery_tag)


def test_redis_returns_a_stored_value(stored_settings: Settings) -> None:
    with redis.Redis.from_url(stored_settings.redis_url, decode_responses=True) as store:
        key = f"{stored_settings.namespace}event:evt_1:status"
        assert store.set(key, "processed", nx=True, ex=60)
        assert not store.set(key, "processing", nx=True)
        assert store.get(key) == "processed"


def mongodb(settings: Settings) -> pymongo.MongoClient[dict[str, Any]]:
    """A connection to the test's database."""
    return pymongo.MongoClient(settings.mongodb_uri)


def test_mongodb_enforces_a_unique_index(stored_settings: Settings) -> None:
    with mongodb(stored_settings) as client:
        payments = client.get_default_database()["payments"]
        payments.create_index("booking_id", unique=True)
        payments.insert_one({"booking_id": "BOOK-1"})
        with pytest.raises(pymongo.errors.DuplicateKeyError):
            payments.insert_one({"booking_id": "BOOK-1"})


def test_a_killed_private_rabbitmq_keeps_persistent_messages(
    private_rabbitmq: PrivateRabbitMQ,
) -> None:
    parameters = pika.URLParameters(private_rabbitmq.url)
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.queue_declare(KEPT, durable=True)
    private_rabbitmq.settle()
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", KEPT, b"still here", PERSISTENT, mandatory=True)

    private_rabbitmq.kill()
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(parameters)

    private_rabbitmq.start()
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        message = wait_for(lambda: got(channel), 10, "the message is lost")
        assert message[2] == b"still here"


def got(channel: pika.adapters.blocking_connection.BlockingChannel) -> tuple[object, ...] | None:
    method, properties, body = channel.basic_get(KEPT, auto_ack=True)
    return (method, properties, body) if method else None


def test_a_private_redis_restarts_on_the_same_port(server_dir: Path) -> None:
    server = RedisServer(server_dir / "redis")
    server.start()
    with redis.Redis.from_url(server.url) as store:
        assert store.ping()
        server.restart()
        assert store.ping(), "over a new connection to the same port"
        server.stop()
        with pytest.raises(redis.ConnectionError):
            store.ping()


_seen: set[str] = set()


@pytest.mark.parametrize("run", [1, 2])
def test_tests_do_not_see_each_others_data(rabbit_settings: Settings, run: int) -> None:
    settings = rabbit_settings
    names = {settings.namespace, settings.rabbitmq_exchange, settings.mongodb_uri}
    assert not names & _seen
    _seen.update(names)
    assert traces(settings) == (0, 0, 0)
    leave_traces(settings)


def test_tests_clean_up_their_data(rabbit_settings: Settings) -> None:
    leave_traces(rabbit_settings)
    assert traces(rabbit_settings) == (1, 1, 1)
    remove_stored(rabbit_settings)
    remove_queues(rabbit_settings)
    assert traces(rabbit_settings) == (0, 0, 0)


def leave_traces(settings: Settings) -> None:
    with mongodb(settings) as client:
        client.get_default_database()["payments"].insert_one({"_id": 1})
    with redis.Redis.from_url(settings.redis_url) as store:
        store.set(f"{settings.namespace}event:evt_1:status", "processed")
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        connection.channel().queue_declare(f"{settings.namespace}notification.email.XQ", durable=True)


def traces(settings: Settings) -> tuple[int, int, int]:
    """Return the number of collections, keys, and queues under a test's names."""
    with mongodb(settings) as client:
        collections = len(client.get_default_database().list_collection_names())
    with redis.Redis.from_url(settings.redis_url) as store:
        keys = len(list(store.scan_iter(f"{settings.namespace}*")))
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        try:
            connection.channel().queue_declare(f"{settings.namespace}notification.email.XQ", passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return collections, keys, 0
    return collections, keys, 1


def run_without_rabbitmq(
    mongodb_server: str, redis_url: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest on the first test of this file without a RabbitMQ."""
    test = f"{Path(__file__).relative_to(ROOT)}::{test_rabbitmq_returns_a_published_message.__name__}"
    unavailable = {
        "PATH": str(Path(sys.executable).parent),
        "RABBITMQ_URL": f"amqp://guest:guest@127.0.0.1:{free_port()}/%2F",
        "REDIS_URL": redis_url,
        "MONGODB_URI": with_database(mongodb_server, "unused"),
    }
    inherited = {name: value for name, value in os.environ.items() if name != "REQUIRE_SERVICES"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", test],
        cwd=ROOT,
        env=inherited | unavailable | environment,
        capture_output=True,
        text=True,
        check=False,
    )


REASON = "RabbitMQ: RABBITMQ_URL is set, but there is no connection"


def test_a_missing_server_skips_its_tests_and_is_named(mongodb_server: str, redis_url: str) -> None:
    done = run_without_rabbitmq(mongodb_server, redis_url)
    assert (done.returncode, f": {REASON}" in done.stdout) == (0, True), done.stdout
    assert "1 skipped" in done.stdout


def test_a_missing_server_fails_its_tests_where_services_are_required(
    mongodb_server: str, redis_url: str
) -> None:
    done = run_without_rabbitmq(mongodb_server, redis_url, REQUIRE_SERVICES="1")
    assert (done.returncode, f"Failed: {REASON}" in done.stdout) == (1, True), done.stdout
    assert "skipped" not in done.stdout

"""Fixtures of all tests. A test names the servers it needs; each is found or started once for a worker.

Every test has its own names (database, key prefix, exchange, queues), so that tests never meet each other
or a developer's data, whatever runs at the same time.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import pymongo
import pytest
import redis

from app import models
from app.messaging.topology import EMAIL_QUEUE, EVENT_QUEUES, SMS_QUEUE
from app.settings import Settings
from tests.support.mail import MailSink, running_mail_sink
from tests.support.services import FIND, Service
from tests.support.stripe import StripeSimulator

_QUEUES = (*EVENT_QUEUES.values(), EMAIL_QUEUE, SMS_QUEUE)
_SERVICE_VARIABLES = ("RABBITMQ_URL", "REDIS_URL", "MONGODB_URI")

Find = Callable[[str], str]


@pytest.fixture(scope="session")
def find(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Find]:
    """Gives a server's URL by its name; without one skips or, under REQUIRE_SERVICES=1, fails the test."""
    directory = tmp_path_factory.mktemp("servers")
    services: dict[str, Service] = {}

    def find(name: str) -> str:
        if name not in services:
            services[name] = FIND[name](directory)
        service = services[name]
        if service.missing:
            if os.environ.get("REQUIRE_SERVICES") == "1":
                pytest.fail(service.missing)
            pytest.skip(service.missing)
        return service.url

    yield find
    for service in services.values():
        if service.started:
            service.started.stop()


@pytest.fixture(autouse=True)
def _no_foreign_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's environment reaches no test, but for the servers to use."""
    for name in Settings.model_fields:
        if name.upper() not in _SERVICE_VARIABLES:
            monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def settings() -> Settings:
    """Settings with names of their own and no server: the stub broker."""
    token = uuid.uuid4().hex[:12]
    return Settings(
        _env_file=None,
        rabbitmq_url="stub://",
        rabbitmq_exchange=f"test-{token}",
        namespace=f"test-{token}.",
        redis_url="redis://127.0.0.1:1/0",
        mongodb_uri=f"mongodb://127.0.0.1:1/test_{token}",
        payment_gateway_api_key="sk_test_tests",
        ratelimit_enabled=False,
    )


@pytest.fixture
def stored_settings(settings: Settings, find: Find) -> Iterator[Settings]:
    """`settings` with MongoDB's protocol and Redis."""
    database = settings.mongodb_uri.rpartition("/")[2]
    mongodb, redis_url = find("mongodb"), find("redis")
    yield settings.model_copy(
        update={"mongodb_uri": f"{mongodb}/{database}?directConnection=true", "redis_url": redis_url}
    )
    models.disconnect()
    with pymongo.MongoClient(mongodb, directConnection=True) as client:
        client.drop_database(database)
    with redis.Redis.from_url(redis_url) as store:
        for key in store.scan_iter(f"{settings.namespace}*", count=1000):
            store.delete(key)


@pytest.fixture
def redis_settings(stored_settings: Settings) -> Settings:
    """`stored_settings` with the queues on Redis, as in the embedded stack."""
    return stored_settings.model_copy(update={"rabbitmq_url": stored_settings.redis_url})


@pytest.fixture
def rabbit_settings(stored_settings: Settings, find: Find) -> Iterator[Settings]:
    """`stored_settings` with the queues on RabbitMQ."""
    url = find("rabbitmq")
    yield stored_settings.model_copy(update={"rabbitmq_url": url})
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for queue in _QUEUES:
            for suffix in ("", ".DQ", ".XQ"):
                channel.queue_delete(f"{stored_settings.namespace}{queue}{suffix}")
        channel.exchange_delete(stored_settings.rabbitmq_exchange)


@pytest.fixture(params=["rabbitmq", "redis"])
def broker_settings(request: pytest.FixtureRequest) -> Settings:
    """Each test runs on both brokers."""
    name = {"rabbitmq": "rabbit_settings", "redis": "redis_settings"}[request.param]
    found: Settings = request.getfixturevalue(name)
    return found


@pytest.fixture
def dead_letters() -> Callable[[Settings, str], int]:
    """Counts the dead letters of a queue, on either broker."""

    def count(settings: Settings, queue: str) -> int:
        name = f"{settings.namespace}{queue}.XQ"
        if settings.rabbitmq_url.startswith("redis"):
            with redis.Redis.from_url(settings.rabbitmq_url) as store:
                dead: Any = store.zcard(f"{settings.namespace}dramatiq:{name}")
                return int(dead)
        with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
            return int(connection.channel().queue_declare(name, passive=True).method.message_count)

    return count


@pytest.fixture
def mail_sink() -> Iterator[MailSink]:
    """A real SMTP server."""
    with running_mail_sink() as sink:
        yield sink


@pytest.fixture
def stripe_simulator(find: Find) -> Iterator[StripeSimulator]:
    """The Stripe simulator, shared; faults do not outlive a test."""
    simulator = StripeSimulator(find("stripe"))
    yield simulator
    simulator.clear_faults()


@pytest.fixture
def server_dir(tmp_path: Path) -> Path:
    """Where a test's own servers keep their data."""
    return tmp_path / "servers"

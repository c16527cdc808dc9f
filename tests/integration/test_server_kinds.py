"""Unsupported kinds of servers are refused at start and named by `check`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pika
import pytest

from app import create_app, models
from app.channels import CHANNELS, ChannelName
from app.operations.health import PROBES, run_probe
from app.operations.server_kinds import refusals
from tests.support.commands import movieapp
from tests.support.mongos import mongos
from tests.support.servers import RedisServer

if TYPE_CHECKING:
    from app.settings import Settings


PAYMENT = {"user_id": "u", "booking_id": "B", "amount": 1, "payment_method": "credit_card"}


class ClusterServer(RedisServer):
    """A single node of a Redis Cluster."""

    def command(self) -> list[str]:
        return [*super().command(), "--cluster-enabled", "yes", "--cluster-port", "0"]


@pytest.fixture
def redis_cluster(
    settings: Settings, server_dir: Path, lacking: Callable[[str], NoReturn]
) -> Iterator[Settings]:
    if not ClusterServer.binary():
        lacking("Redis: no redis-server installed")
    server = ClusterServer(server_dir / "redis")
    server.start()
    yield settings.model_copy(update={"redis_url": server.url})
    server.stop()


@pytest.fixture
def sharded(settings: Settings) -> Iterator[Settings]:
    with mongos() as uri:
        yield settings.model_copy(update={"mongodb_uri": f"{uri}movieapp"})


@pytest.fixture
def streaming(rabbit_settings: Settings) -> Settings:
    """Settings with one queue that exists as a stream."""
    with pika.BlockingConnection(pika.URLParameters(rabbit_settings.rabbitmq_url)) as connection:
        name = rabbit_settings.namespace + CHANNELS[ChannelName.EMAIL].queue
        connection.channel().queue_declare(name, durable=True, arguments={"x-queue-type": "stream"})
    return rabbit_settings


@pytest.mark.parametrize(
    ("fixture", "commands", "check", "reason"),
    [
        ("sharded", ("serve", "worker"), "mongodb", "mongos"),
        ("redis_cluster", ("serve", "worker"), "redis", "Redis Cluster"),
        ("streaming", ("worker",), "queues", "is a stream"),
    ],
)
def test_an_unsupported_kind_of_server_is_refused(
    fixture: str, commands: tuple[str, ...], check: str, reason: str, request: pytest.FixtureRequest
) -> None:
    settings: Settings = request.getfixturevalue(fixture)
    for command in commands:
        refused = movieapp(settings, command)
        assert refused.returncode == 1
        assert reason in refused.stderr
        assert "docs/scaling.md" in refused.stderr
        assert "Traceback" not in refused.stderr
    listed = json.loads(movieapp(settings, "check", "--json").stdout)
    [finding] = [each for each in listed if reason in each["what"]]
    assert (finding["check"], finding["level"]) == (check, "bad")
    assert "docs/scaling.md" in finding["advice"]


def test_a_redis_cluster_is_refused_as_the_broker_of_the_embedded_stack(
    redis_cluster: Settings, redis_settings: Settings
) -> None:
    url = redis_cluster.redis_url
    [reason] = refusals(redis_settings.model_copy(update={"rabbitmq_url": url}), queues=False)
    assert reason.startswith("RABBITMQ_URL points to a node of a Redis Cluster")


def test_a_payment_is_refused_on_a_sharded_database(sharded: Settings) -> None:
    """Also if the server was unavailable at start, as under plain gunicorn."""
    app = create_app(sharded)
    try:
        response = app.test_client().post("/payment/process", json=PAYMENT)
        ready = app.test_client().get("/health/ready")
    finally:
        models.disconnect()
    assert response.status_code == 503
    assert "sharded" in response.json["error"]["message"]
    assert ready.status_code == 503
    assert not ready.json["checks"]["mongodb"]["ok"]


def test_a_server_that_does_not_say_its_kind_is_accepted(
    redis_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    def refuse(*_args: Any) -> NoReturn:
        raise redis.exceptions.NoPermissionError("this user has no permissions to run the 'info' command")

    monkeypatch.setattr(redis.Redis, "info", refuse)
    [finding] = run_probe("redis", PROBES["redis"], redis_settings)
    assert finding.level == "ok"

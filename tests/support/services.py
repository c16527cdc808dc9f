"""Which servers this run uses: named by the environment, found on their standard ports, or started."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.support.servers import MongoServer, RabbitServer, RedisServer, Server, StripeServer, amqp_error

RABBITMQ_URL = "amqp://guest:guest@127.0.0.1:5672/%2F"
REDIS_URL = "redis://127.0.0.1:6379/0"


@dataclass(frozen=True)
class Service:
    """Where a server is, or why there is none; `started` is the process if it is ours."""

    url: str = ""
    missing: str = ""
    started: Server | None = None


def find_rabbitmq(directory: Path) -> Service:
    """RABBITMQ_URL, else the standard port, else a node of our own."""
    named = os.environ.get("RABBITMQ_URL")
    url = named or RABBITMQ_URL
    error = amqp_error(url)
    if error is None:
        return Service(url)
    if named:
        return Service(missing=f"RabbitMQ: RABBITMQ_URL is set, but there is no connection ({error})")
    if not RabbitServer.installed():
        return Service(
            missing="RabbitMQ: nothing on 127.0.0.1:5672 and no rabbitmq-server installed "
            "(apt-get install rabbitmq-server)"
        )
    server = RabbitServer(directory / "rabbitmq")
    server.start()
    return Service(server.url, started=server)


def find_redis(directory: Path) -> Service:
    """REDIS_URL, else the standard port, else a server of our own."""
    named = os.environ.get("REDIS_URL")
    url = named or REDIS_URL
    client = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)
    try:
        client.ping()
        return Service(url)
    except redis.RedisError as error:
        if named:
            return Service(
                missing=f"Redis: REDIS_URL is set, but there is no answer ({type(error).__name__})"
            )
    finally:
        client.close()
    server = RedisServer(directory / "redis")
    server.start()
    return Service(server.url, started=server)


def find_mongodb(directory: Path) -> Service:
    """MONGODB_URI without its database's name, else SecantusDB, which the tests' packages include."""
    named = os.environ.get("MONGODB_URI")
    if named:
        return Service(named.rpartition("/")[0])
    server = MongoServer(directory / "mongodb")
    server.start()
    return Service(server.uri, started=server)


def start_stripe(directory: Path) -> Service:
    """The Stripe simulator."""
    server = StripeServer(directory / "stripe")
    server.start()
    return Service(server.url, started=server)


FIND: dict[str, Callable[[Path], Service]] = {
    "rabbitmq": find_rabbitmq,
    "redis": find_redis,
    "mongodb": find_mongodb,
    "stripe": start_stripe,
}

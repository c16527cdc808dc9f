"""Fixtures of all tests. A test requests the servers that it needs. Each is found or started once for a run.

Every test has its own names (database, key prefix, exchange, queues). So, concurrent tests never share data,
and never touch a developer's.
"""

from __future__ import annotations

import io
import json
import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pika
import pytest
import redis

from app import models
from app.settings import Settings
from app.telemetry import logs
from devtools.gallery.browser import NoBrowser, chromium
from tests.support.mail import MailSink, running_mail_sink
from tests.support.processes import end_all
from tests.support.servers import StripeServer
from tests.support.services import PrivateRabbitMQ, Services, with_database
from tests.support.sharing import Desk, RemoteServices
from tests.support.stripe import StripeSimulator
from tests.support.traces import remove_queues, remove_stored

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Find = Callable[[str], str]

#: Variables that name the servers. Saved, because mutmut runs pytest many times in one process, and the first
#: run hides them.
_ENVIRONMENT = dict(os.environ)

_directory = pytest.StashKey[Path]()
_services = pytest.StashKey[Services | RemoteServices]()


def pytest_configure(config: pytest.Config) -> None:
    """Remember which servers the environment names, and hide the rest of the environment from the tests."""
    workerinput: dict[str, Any] | None = getattr(config, "workerinput", None)
    if workerinput:
        config.stash[_services] = RemoteServices(Path(workerinput["desk"]))
    else:
        directory = tempfile.TemporaryDirectory(prefix="movieapp-tests-", ignore_cleanup_errors=True)
        config.add_cleanup(directory.cleanup)
        config.stash[_directory] = Path(directory.name)
        config.stash[_services] = Services(_ENVIRONMENT, config.stash[_directory])
    config.add_cleanup(end_all)
    _forget_foreign_settings()
    # A shell starts background commands with SIGINT ignored, and our child processes would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a pytest-xdist worker the address to request servers from."""
    config: pytest.Config = node.config
    address = config.stash[_directory] / "desk"
    if not address.exists():
        services = config.stash[_services]
        assert isinstance(services, Services)
        config.add_cleanup(Desk(services, address).close)
    node.workerinput["desk"] = str(address)


def _forget_foreign_settings() -> None:
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
    os.environ.pop("MOVIEAPP_DATA_DIR", None)
    os.environ.pop("SECRETS_DIR", None)


def _lacking(reason: str) -> NoReturn:
    """Skip the test, or fail it where services are required."""
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def lacking() -> Callable[[str], NoReturn]:
    """Skips the test if a program is missing, or fails it where services are required."""
    return _lacking


@pytest.fixture(scope="session")
def find(pytestconfig: pytest.Config) -> Find:
    """Returns a server's URL by its name. Without the server, skips the test or, under REQUIRE_SERVICES=1,
    fails it.
    """

    def find(name: str) -> str:
        service = pytestconfig.stash[_services].find(name)
        if service.broken:
            pytest.fail(service.broken)
        if service.missing:
            _lacking(service.missing)
        return service.url

    return find


@pytest.fixture(scope="session")
def rabbitmq_url(find: Find) -> str:
    """RabbitMQ, with a shared virtual host."""
    return find("rabbitmq")


@pytest.fixture(scope="session")
def redis_url(find: Find) -> str:
    """Redis, with a shared database."""
    return find("redis")


@pytest.fixture(scope="session")
def mongodb_server(find: Find) -> str:
    """A MongoDB server: a URI without a database name; `with_database` adds one."""
    return find("mongodb")


@pytest.fixture(autouse=True)
def _no_foreign_settings() -> None:
    """Hide the environment from tests: a developer's, and variables set by other tests."""
    _forget_foreign_settings()


@pytest.fixture
def settings() -> Settings:
    """Settings with unique names and without servers: the stub broker."""
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
        metrics_bind="none",
        worker_metrics_bind="none",
    )


@pytest.fixture
def stored_settings(settings: Settings, mongodb_server: str, redis_url: str) -> Iterator[Settings]:
    """`settings` with a MongoDB server and Redis."""
    database = settings.mongodb_uri.rpartition("/")[2]
    stored = settings.model_copy(
        update={"mongodb_uri": with_database(mongodb_server, database), "redis_url": redis_url}
    )
    yield stored
    models.disconnect()
    remove_stored(stored)


@pytest.fixture
def redis_settings(stored_settings: Settings) -> Settings:
    """`stored_settings` with the queues on Redis, as in the embedded stack."""
    return stored_settings.model_copy(update={"rabbitmq_url": stored_settings.redis_url})


@pytest.fixture
def rabbit_settings(stored_settings: Settings, rabbitmq_url: str) -> Iterator[Settings]:
    """`stored_settings` with the queues on RabbitMQ."""
    with_queues = stored_settings.model_copy(update={"rabbitmq_url": rabbitmq_url})
    yield with_queues
    remove_queues(with_queues)


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
def log_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Log lines since the test began, even if other tests reconfigured logging."""
    stream = io.StringIO()
    logs.configure("notification-service", "INFO", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logs.configure("notification-service", "INFO")


@pytest.fixture
def mail_sink() -> Iterator[MailSink]:
    """A real SMTP server."""
    with running_mail_sink() as sink:
        yield sink


@pytest.fixture(scope="session")
def stripe_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StripeServer]:
    """A Stripe simulator for each worker, so that a fault of one test does not affect another's payment."""
    server = StripeServer(tmp_path_factory.mktemp("stripe"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def stripe_simulator(stripe_server: StripeServer) -> Iterator[StripeSimulator]:
    """The Stripe simulator. Faults are cleared after each test."""
    simulator = StripeSimulator(stripe_server.url)
    yield simulator
    simulator.clear_faults()


@pytest.fixture
def private_stripe(server_dir: Path) -> Iterator[StripeSimulator]:
    """A separate simulator for one test: it has no other objects, and its clock can be moved."""
    server = StripeServer(server_dir / "stripe")
    server.start()
    yield StripeSimulator(server.url)
    server.stop()


@pytest.fixture(scope="session")
def rabbitmq_installed() -> None:
    """Require an installed RabbitMQ."""
    if not PrivateRabbitMQ.installed():
        _lacking("RabbitMQ: no rabbitmq-server installed (apt-get install rabbitmq-server)")


@pytest.fixture
def private_rabbitmq(rabbitmq_installed: None, server_dir: Path) -> Iterator[PrivateRabbitMQ]:
    """A RabbitMQ node that a test may kill and restart."""
    server = PrivateRabbitMQ(server_dir / "rabbitmq")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, for one module, because playwright's event loop would conflict with those of
    other tests.
    """
    try:
        with chromium() as started:
            yield started
    except NoBrowser as error:
        _lacking(f"Chromium: {error}")


@pytest.fixture
def server_dir(tmp_path: Path) -> Path:
    """Data directory of a test's own servers."""
    return tmp_path / "servers"

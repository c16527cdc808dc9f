from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import services
from tests.support.ports import free_port
from tests.support.servers import RabbitServer, RedisServer
from tests.support.services import FIND, Service, Services, with_database
from tests.support.sharing import Desk, RemoteServices


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens on the standard ports, and nothing is installed."""
    monkeypatch.setattr(services, "RABBITMQ_URL", f"amqp://guest:guest@127.0.0.1:{free_port()}/%2F")
    monkeypatch.setattr(services, "REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    monkeypatch.setattr(services, "listens", lambda port: False)
    monkeypatch.setattr(RabbitServer, "installed", staticmethod(lambda: False))
    monkeypatch.setattr(RedisServer, "binary", staticmethod(lambda: None))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


@pytest.mark.usefixtures("bare_machine")
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("rabbitmq", ["RabbitMQ: nothing on 127.0.0.1:", "apt-get install rabbitmq-server"]),
        ("redis", ["Redis: no answer on 127.0.0.1:", "apt-get install redis-server"]),
        ("mongodb", ["MongoDB: MONGODB_URI is not set", "pip install secantusdb"]),
    ],
)
def test_a_missing_server_is_named_with_the_way_to_get_it(
    tmp_path: Path, name: str, parts: list[str]
) -> None:
    service = FIND[name]({}, tmp_path)
    assert not service.url
    assert all(part in service.missing for part in parts), service.missing


@pytest.mark.usefixtures("bare_machine")
def test_the_embedded_stacks_broker_is_not_taken_for_rabbitmq(tmp_path: Path) -> None:
    service = FIND["rabbitmq"]({"RABBITMQ_URL": "redis://127.0.0.1:6379/0"}, tmp_path)
    assert service.missing.startswith("RabbitMQ: nothing on")


@pytest.mark.parametrize(
    ("name", "variable", "url"),
    [
        ("rabbitmq", "RABBITMQ_URL", "amqp://guest:hunter2@127.0.0.1:{port}/%2F"),
        ("redis", "REDIS_URL", "redis://:hunter2@127.0.0.1:{port}/0"),
        ("mongodb", "MONGODB_URI", "mongodb://me:hunter2@127.0.0.1:{port}/movieapp"),
    ],
)
def test_a_server_that_is_named_and_away_is_not_replaced_by_another(
    tmp_path: Path, name: str, variable: str, url: str
) -> None:
    service = FIND[name]({variable: url.format(port=free_port())}, tmp_path)
    assert f"{variable} is set, but" in service.missing
    assert "hunter2" not in service.missing
    assert not service.url


def test_an_installed_server_that_does_not_start_is_broken_and_shows_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    monkeypatch.setattr(RedisServer, "command", lambda self: ["sh", "-c", "echo out of memory; exit 1"])
    service = FIND["redis"]({}, tmp_path)
    assert not service.missing
    assert "RedisServer did not start: ended with 1:\nout of memory" in service.broken


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            "mongodb://127.0.0.1:27017/?directConnection=true",
            "mongodb://127.0.0.1:27017/t?directConnection=true",
        ),
        ("mongodb://u:p@a:1,b:2/movieapp?authSource=admin", "mongodb://u:p@a:1,b:2/t?authSource=admin"),
        ("mongodb://127.0.0.1:27017", "mongodb://127.0.0.1:27017/t"),
    ],
)
def test_a_mongodb_uri_keeps_its_options_with_another_database(uri: str, expected: str) -> None:
    assert with_database(uri, "t") == expected


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names that were looked for; `slow` is found when `quick` was."""
    names: list[str] = []
    quick_was_found = threading.Event()

    def finds(name: str) -> None:
        def find(environment: Mapping[str, str], directory: Path) -> Service:
            names.append(name)
            if name == "slow":
                assert quick_was_found.wait(10)
            quick_was_found.set()
            return Service(url=f"{name}://{environment['HOST']}")

        monkeypatch.setitem(FIND, name, find)

    finds("slow")
    finds("quick")
    yield names


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name: about a hundred characters are allowed."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def test_workers_share_what_is_found_and_one_server_does_not_hold_up_another(
    found: list[str], short_path: Path
) -> None:
    desk = Desk(Services({"HOST": "here"}, short_path), short_path / "desk")
    worker = RemoteServices(short_path / "desk")
    with ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(worker.find, "slow") for _ in range(4)]
        quick = [pool.submit(worker.find, "quick") for _ in range(4)]
        assert {asked.result(10) for asked in slow} == {Service("slow://here")}
        assert {asked.result(10) for asked in quick} == {Service("quick://here")}
    assert sorted(found) == ["quick", "slow"]
    desk.close()


def test_a_url_that_is_none_is_told_and_not_shown(tmp_path: Path) -> None:
    service = Services({"REDIS_URL": "hunter2"}, tmp_path).find("redis")
    assert service.broken.startswith("redis: ValueError")
    assert "hunter2" not in service.broken

"""What the tests stand on: a missing server skips by name, and fails where nothing may skip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
NEEDS_RABBITMQ = "tests/integration/test_notifications.py::test_an_event_that_comes_again_sends_nothing_again"


def run_tests(**environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "REQUIRE_SERVICES"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-rs",
        NEEDS_RABBITMQ,
        "-k",
        "rabbitmq",
    ]
    return subprocess.run(
        command, cwd=ROOT, env=env | environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_without_rabbitmq_its_tests_skip_and_say_why() -> None:
    done = run_tests(RABBITMQ_URL=f"amqp://guest:guest@127.0.0.1:{free_port()}/%2F")
    assert done.returncode == 0, done.stdout
    assert "SKIPPED" in done.stdout
    assert "RabbitMQ: RABBITMQ_URL is set, but there is no connection" in done.stdout


def test_where_nothing_may_skip_a_missing_server_fails() -> None:
    done = run_tests(RABBITMQ_URL=f"amqp://guest:guest@127.0.0.1:{free_port()}/%2F", REQUIRE_SERVICES="1")
    assert done.returncode == 1
    assert "RabbitMQ: RABBITMQ_URL is set, but there is no connection" in done.stdout


_seen: set[str] = set()


@pytest.mark.parametrize("run", [1, 2])
def test_each_test_has_names_of_its_own(settings: Settings, run: int) -> None:
    names = {settings.namespace, settings.rabbitmq_exchange, settings.mongodb_uri}
    assert not names & _seen
    _seen.update(names)

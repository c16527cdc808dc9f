"""docker-compose.yml gives each service its own RabbitMQ user, and nobody a password that is written down."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SCRIPT = (ROOT / "deploy" / "rabbitmq" / "access.sh").read_text()
PASSWORDS = set(re.findall(r"RABBITMQ_[A-Z]+_PASSWORD", SCRIPT))


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def test_the_script_gets_every_password_from_outside(services: dict[str, Any]) -> None:
    environment = services["rabbitmq-access"]["environment"]
    assert len(PASSWORDS) == 3
    for name in PASSWORDS:
        assert environment[name].startswith(f"${{{name}:?")


@pytest.mark.parametrize("name", ["payment-service", "notification-service"])
def test_a_service_logs_in_as_itself_and_knows_no_other_password(services: dict[str, Any], name: str) -> None:
    environment = services[name]["environment"]
    url = urlsplit(environment["RABBITMQ_URL"])
    [password] = re.findall(rf'"name": "{name}", "password": "\$(\w+)"', SCRIPT)
    assert (url.username, url.password) == (name, f"${{{password}}}")
    assert all(environment[other] == "" for other in PASSWORDS)

"""docker-compose.yml is what Compose takes, names what is there, and lets nobody in who need not be."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest

from app.settings import Settings
from tests.support.compose import ROOT, read_compose

SCRIPT = (ROOT / "deploy" / "rabbitmq" / "access.sh").read_text()
PASSWORDS = set(re.findall(r"RABBITMQ_[A-Z]+_PASSWORD", SCRIPT))
OPTIONAL = {"RABBITMQ_ADMIN_PASSWORD"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = read_compose()["services"]
    return found


def test_it_follows_the_schema_of_the_specification() -> None:
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(read_compose(), json.loads(schema.read_text()))


def test_whatever_runs_on_is_checked_and_what_waits_waits_for_health(services: dict[str, Any]) -> None:
    runs_on = {name for name, service in services.items() if "restart" in service}
    assert {name for name, service in services.items() if "healthcheck" in service} == runs_on
    for service in services.values():
        for name, wait in service.get("depends_on", {}).items():
            condition = "service_healthy" if name in runs_on else "service_completed_successfully"
            assert wait["condition"] == condition


def test_what_it_mounts_from_here_is_here(services: dict[str, Any]) -> None:
    mounted = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    kept = set(read_compose()["volumes"])
    # Compose makes the directory of the secrets, empty; nothing of it is in the repository.
    for path in mounted - kept - {"./secrets"}:
        assert (ROOT / path).exists(), path
    assert kept <= mounted


def test_images_are_of_one_version_and_ports_of_this_machine(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if "build" not in service:
            assert re.search(r":v?\d", service["image"]), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


@pytest.mark.parametrize("name", ["payment-service", "notification-service"])
def test_a_service_can_write_nothing_but_what_is_lost(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert all(volume.endswith(":ro") for volume in service["volumes"])


@pytest.mark.parametrize("name", ["payment-service", "notification-service"])
def test_a_service_gets_settings_that_there_are(services: dict[str, Any], name: str) -> None:
    known = {field.upper() for field in Settings.model_fields}
    assert set(services[name]["environment"]) - PASSWORDS <= known


def test_the_script_gets_every_password_from_outside(services: dict[str, Any]) -> None:
    environment = services["rabbitmq-access"]["environment"]
    assert len(PASSWORDS) == 4
    for name in PASSWORDS - OPTIONAL:
        assert environment[name].startswith(f"${{{name}:?")
    assert {environment[name] for name in OPTIONAL} == {"${RABBITMQ_ADMIN_PASSWORD:-}"}


@pytest.mark.parametrize("name", ["payment-service", "notification-service"])
def test_a_service_logs_in_as_itself_and_knows_no_other_password(services: dict[str, Any], name: str) -> None:
    environment = services[name]["environment"]
    url = urlsplit(environment["RABBITMQ_URL"])
    [password] = re.findall(rf'"name": "{name}", "password": "\$(\w+)"', SCRIPT)
    assert (url.username, url.password) == (name, f"${{{password}}}")
    assert all(environment[other] == "" for other in PASSWORDS)

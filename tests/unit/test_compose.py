"""docker-compose.yml is valid, names existing files, and grants minimal access."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
from pydantic import SecretStr

from app.settings import Settings
from tests.support.compose import ROOT, read_compose

SCRIPT = (ROOT / "deploy" / "rabbitmq" / "access.sh").read_text()
PASSWORDS = set(re.findall(r"RABBITMQ_[A-Z]+_PASSWORD", SCRIPT))
OPTIONAL = {"RABBITMQ_ADMIN_PASSWORD"}
#: Passwords of Redis and MongoDB, which the services get only in their URLs.
STORES = {"REDIS_PASSWORD", "MONGODB_ROOT_PASSWORD", "MONGODB_PASSWORD", "MONGODB_KEY"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = read_compose()["services"]
    return found


def test_the_compose_file_follows_its_schema() -> None:
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(read_compose(), json.loads(schema.read_text()))


def test_long_running_services_have_health_checks_and_dependents_wait_for_them(
    services: dict[str, Any],
) -> None:
    runs_on = {name for name, service in services.items() if "restart" in service}
    assert {name for name, service in services.items() if "healthcheck" in service} == runs_on
    for service in services.values():
        for name, wait in service.get("depends_on", {}).items():
            condition = "service_healthy" if name in runs_on else "service_completed_successfully"
            assert wait["condition"] == condition


def test_mounted_files_exist(services: dict[str, Any]) -> None:
    mounted = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    kept = set(read_compose()["volumes"])
    for path in mounted - kept:
        # Compose creates the empty directories of the secrets; they are not in the repository.
        assert path.startswith("./secrets/") or (ROOT / path).exists(), path
    assert kept <= mounted


def test_images_are_pinned_and_ports_are_local(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if "build" not in service:
            assert re.search(r":v?\d", service["image"]), name
        for port in service.get("ports", []):
            opened = name == "proxy" and port.startswith("${PROXY_BIND:-127.0.0.1}:443:")
            assert opened or port.startswith("127.0.0.1:"), name


def test_data_stores_and_the_broker_are_on_internal_networks(services: dict[str, Any]) -> None:
    networks = read_compose()["networks"]
    inside = {name for name, network in networks.items() if (network or {}).get("internal")}
    assert inside == {"messages", "data", "monitoring"}
    for name in ("redis", "mongo"):
        assert services[name]["networks"] == ["data"]
        assert "ports" not in services[name]
    assert set(services["proxy"]["networks"]) == {"edge"}
    assert {name for name, service in services.items() if "data" in service.get("networks", [])} == {
        "redis",
        "mongo",
        "payment-service",
        "notification-service",
    }
    used = {network for service in services.values() for network in service.get("networks", [])}
    assert used == set(networks)


#: Secret setting → the only service that gets it. Both services get any other secret.
OWNERS = {
    "STRIPE_WEBHOOK_SECRET": "payment-service",
    "DASHBOARD_SECRET_KEY": "payment-service",
    "BOUNCE_MAILBOX_URL": "notification-service",
    "APPLE_PASS_CERTIFICATE": "notification-service",
    "APPLE_PASS_KEY": "notification-service",
    "APPLE_PASS_KEY_PASSWORD": "notification-service",
    "APPLE_WWDR_CERTIFICATE": "notification-service",
    "GOOGLE_WALLET_SERVICE_ACCOUNT": "notification-service",
    "SMTP_PASSWORD": "notification-service",
    "SMTP_OAUTH2_CLIENT_SECRET": "notification-service",
    "SMTP_FALLBACK_URL": "notification-service",
}
SHARED = {"PAYMENT_GATEWAY_API_KEY", "OTEL_EXPORTER_OTLP_HEADERS", "SUPPRESSION_KEY", "TWILIO_AUTH_TOKEN"}


@pytest.mark.parametrize("name", ["payment-service", "notification-service"])
def test_a_service_gets_only_its_own_secrets(services: dict[str, Any], name: str) -> None:
    secret = {field.upper() for field, info in Settings.model_fields.items() if info.annotation is SecretStr}
    assert secret == set(OWNERS) | SHARED, "a secret setting needs an owner here and in docker-compose.yml"
    environment = services[name]["environment"]
    # An empty variable overrides the line in .env.
    assert {each for each in OWNERS if environment.get(each) == ""} == {
        each for each, owner in OWNERS.items() if owner != name
    }
    assert f"./secrets/{name}:/run/secrets:ro" in services[name]["volumes"]


@pytest.mark.parametrize("name", ["payment-service", "notification-service"])
def test_a_service_can_write_only_to_temporary_storage(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert all(volume.endswith(":ro") for volume in service["volumes"])


@pytest.mark.parametrize("name", ["payment-service", "notification-service"])
def test_a_service_gets_only_existing_settings(services: dict[str, Any], name: str) -> None:
    known = {field.upper() for field in Settings.model_fields}
    assert set(services[name]["environment"]) - PASSWORDS - STORES <= known


def test_the_script_contains_no_password(services: dict[str, Any]) -> None:
    environment = services["rabbitmq-access"]["environment"]
    assert len(PASSWORDS) == 4
    for name in PASSWORDS - OPTIONAL:
        assert environment[name].startswith(f"${{{name}:?")
    assert {environment[name] for name in OPTIONAL} == {"${RABBITMQ_ADMIN_PASSWORD:-}"}


@pytest.mark.parametrize("name", ["payment-service", "notification-service"])
def test_a_service_logs_in_as_itself_and_has_no_other_password(services: dict[str, Any], name: str) -> None:
    environment = services[name]["environment"]
    url = urlsplit(environment["RABBITMQ_URL"])
    [password] = re.findall(rf'"name": "{name}", "password": "\$(\w+)"', SCRIPT)
    assert (url.username, url.password) == (name, f"${{{password}}}")
    assert all(environment[other] == "" for other in PASSWORDS | STORES)

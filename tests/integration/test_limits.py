"""Rate limits of public endpoints: who is counted, what is refused, and who is never delayed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from app import create_app
from app.keys.store import create_key
from tests.support.ports import free_port
from tests.support.stripe import deliver, webhook

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

READS = (
    "/payment/status/TXN-1",
    "/payment/booking/BOOK-1",
    "/payment/methods",
    "/docs/openapi.json",
    "/docs/",
)


@pytest.fixture
def make_client(redis_settings: Settings, stripe_simulator: StripeSimulator) -> Iterator[Any]:
    apps = []

    def make(**changes: Any) -> FlaskClient:
        limits = {"ratelimit_enabled": True, "ratelimit_reads": "3 per minute"}
        limits["ratelimit_failures"] = "3 per minute"
        settings = redis_settings.model_copy(update=stripe_simulator.settings | limits | changes)
        app = create_app(settings)
        apps.append(app)
        return app.test_client()

    yield make
    for app in apps:
        app.extensions["movieapp"].relay.close()


def statuses(client: FlaskClient, path: str, headers: list[dict[str, str]]) -> list[int]:
    return [client.get(path, headers=each).status_code for each in headers]


@pytest.mark.parametrize("path", [*READS, "/health/ready"])
def test_reads_are_limited(make_client: Any, path: str) -> None:
    client = make_client()
    responses = [client.get(path) for _ in range(4)]
    assert [response.status_code == 429 for response in responses] == [False] * 3 + [True]
    assert 1 <= int(responses[-1].headers["Retry-After"]) <= 61
    assert client.get("/health").status_code == 200, "it touches nothing"


@pytest.mark.parametrize(
    ("addresses", "limited"),
    [
        ([f"203.0.113.8:{port}" for port in range(40_001, 40_005)], True),
        ([f"203.0.113.{number}" for number in range(8, 12)], False),
        (["203.0.113.8", "203.0.113.8:1", "::ffff:203.0.113.8", "[::ffff:203.0.113.8]:2"], True),
        ([f"2001:db8::{number}" for number in range(1, 5)], True),
        ([f"[2001:db8::{number}]:443" for number in range(1, 5)], True),
        ([f"2001:db8:0:{number}::1" for number in range(1, 5)], False),
        (["unknown", "_hidden", "203.0.113.8.9", "x"], True),
        ([f"192.0.2.{number}, 203.0.113.8" for number in range(4)], True),
    ],
)
@pytest.mark.parametrize("path", ["/payment/methods", "/health/ready"])
def test_clients_are_counted_by_address_without_port_and_ipv6_by_network(
    make_client: Any, addresses: list[str], limited: bool, path: str
) -> None:
    client = make_client(trusted_proxies=1)
    found = statuses(client, path, [{"X-Forwarded-For": address} for address in addresses])
    assert found == [200] * 3 + [429 if limited else 200]


def test_probes_that_bypass_the_proxy_are_not_limited(make_client: Any) -> None:
    client = make_client(trusted_proxies=1)
    assert statuses(client, "/health/ready", [{}] * 10) == [200] * 10


def test_wrong_keys_are_limited_and_a_valid_key_from_that_address_is_not(make_client: Any) -> None:
    client = make_client(auth_required=True, ratelimit_reads="100 per minute")
    _, token = create_key("shop", ["payments:read"])
    wrong = [{"Authorization": f"Bearer mk_{number:032x}_{'A' * 43}"} for number in range(4)]
    assert statuses(client, "/payment/booking/B", wrong) == [401] * 3 + [429]
    assert statuses(client, "/payment/booking/B", [{}]) == [429]
    assert statuses(client, "/payment/booking/B", [{"Authorization": f"Bearer {token}"}] * 5) == [200] * 5


def test_forged_webhooks_are_limited_and_valid_ones_from_that_address_are_not(make_client: Any) -> None:
    client = make_client(stripe_webhook_secret=SecretStr("whsec_right"))
    event = webhook("customer.created", {})
    forged = [deliver(client, event, "whsec_wrong") for _ in range(4)]
    assert [response.status_code for response in forged] == [400] * 3 + [429]
    assert forged[-1].json["error"]["code"] == "RATE_LIMITED"
    right = [deliver(client, event, "whsec_right") for _ in range(4)]
    assert [response.status_code for response in right] == [200] * 4


def test_failures_are_counted_even_without_redis(make_client: Any) -> None:
    client = make_client(auth_required=True, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    assert statuses(client, "/payment/booking/B", [{}] * 4) == [401] * 3 + [429]

"""A card tester uses the API: locked out within ten attempts, without effect on other customers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from app import create_app
from app.abuse.redis_store import RedisStore
from app.models import Transaction
from app.payments.outbox import Relay

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

NO_FUNDS, DECLINED, GOOD = "4000000000009995", "4000000000000002", "4242424242424242"
_numbers = itertools.count()


@pytest.fixture
def app(
    stored_settings: Settings, stripe_simulator: StripeSimulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Flask]:
    monkeypatch.setattr(Relay, "submit", lambda *_: None)
    app = create_app(stored_settings.model_copy(update=stripe_simulator.settings))
    yield app
    app.extensions["movieapp"].relay.close()


def pay(app: Flask, card: str = NO_FUNDS, key: str | None = None, **fields: Any) -> TestResponse:
    number = next(_numbers)
    body = {
        "user_id": f"U-{number}",
        "booking_id": f"B-{number}",
        "amount": 25.5,
        "payment_method": "credit_card",
        "card_details": {"card_number": card, "expiry_month": "12", "expiry_year": "2040", "cvv": "123"},
    }
    headers = {"Idempotency-Key": key} if key else {}
    return app.test_client().post("/payment/process", json=body | fields, headers=headers)


TESTER = {"user_id": "mallory", "booking_id": "B-M", "customer_ip": "203.0.113.8"}


def test_a_card_tester_is_locked_out_and_other_customers_are_not(app: Flask) -> None:
    responses = [pay(app, **TESTER) for _ in range(118)]
    assert [response.status_code for response in responses] == [400] * 9 + [429] * 109
    refused = responses[-1]
    assert refused.json["error"]["code"] == "TOO_MANY_ATTEMPTS"
    assert refused.headers["Retry-After"] == str(refused.json["error"]["details"]["retry_after"])
    assert 800 < int(refused.headers["Retry-After"]) <= 900
    # Each failed payment publishes one event, which would send one mail.
    assert Transaction.objects(booking_id="B-M").count() == 9
    assert pay(app, customer_ip="198.51.100.1").status_code == 400
    assert pay(app, GOOD, customer_ip="198.51.100.1").status_code == 200
    assert pay(app, GOOD).status_code == 200


@pytest.mark.parametrize("same", ["user_id", "booking_id", "customer_ip"])
def test_attempts_that_share_one_property_are_counted_together(app: Flask, same: str) -> None:
    statuses = [pay(app, **{same: TESTER[same]}).status_code for _ in range(12)]
    assert statuses == [400] * 9 + [429] * 3


@pytest.mark.parametrize(
    "addresses",
    [
        ["203.0.113.8:40001", "203.0.113.8:40002", "::ffff:203.0.113.8", "203.0.113.8"],
        ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "[2001:db8:1:2::7]:443"],
    ],
)
def test_another_port_or_address_of_the_same_network_does_not_evade_a_lockout(
    app: Flask, addresses: list[str]
) -> None:
    statuses = [pay(app, customer_ip=addresses[number % len(addresses)]).status_code for number in range(10)]
    assert statuses == [400] * 9 + [429]


def test_concurrent_requests_do_not_exceed_the_attempt_limit(app: Flask) -> None:
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(lambda _: pay(app, user_id="mallory"), range(60)))
    assert sum(response.status_code == 400 for response in responses) < 10
    assert {response.status_code for response in responses} == {400, 429}


def test_repeated_declines_get_a_generic_code(app: Flask) -> None:
    codes = [pay(app, user_id="mallory").json["error_code"] for _ in range(6)]
    assert codes == ["INSUFFICIENT_FUNDS"] * 3 + ["CARD_DECLINED"] * 3
    stored = Transaction.objects(user_id="mallory").order_by("-created_at").first()
    assert stored.error_code == "CARD_DECLINED"


def test_a_lockout_response_is_not_stored_for_its_key(app: Flask) -> None:
    for _ in range(9):
        pay(app, **TESTER)
    assert pay(app, GOOD, key="k", **TESTER).status_code == 429
    app.extensions["movieapp"].payments.attempts.lift("booking", "B-M")
    app.extensions["movieapp"].payments.attempts.lift("user", "mallory")
    app.extensions["movieapp"].payments.attempts.lift("ip", "203.0.113.8")
    assert pay(app, GOOD, key="k", **TESTER).status_code == 200


def test_the_dashboard_lists_lockouts(app: Flask) -> None:
    assert "Nobody is locked out." in app.test_client().get("/dashboard/attempts").text
    for _ in range(9):
        pay(app, user_id="<mallory>", customer_ip="203.0.113.8")
    page = app.test_client().get("/dashboard/attempts").text
    assert "<td>user</td>" in page
    assert "<td>ip</td>" in page
    assert "<mallory>" not in page


def test_the_dashboard_says_that_redis_is_down(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = app.extensions["movieapp"].payments.attempts
    monkeypatch.setattr(attempts, "_shared", RedisStore("redis://127.0.0.1:1/0", "x"))
    page = app.test_client().get("/dashboard/attempts")
    assert (page.status_code, "Redis is unavailable (ConnectionError)." in page.text) == (503, True)


def test_a_family_with_three_cards_pays(app: Flask) -> None:
    family = {"user_id": "jane", "booking_id": "B-J", "customer_ip": "198.51.100.7"}
    for card in (NO_FUNDS, DECLINED, NO_FUNDS, DECLINED, NO_FUNDS, DECLINED):
        assert pay(app, card, **family).status_code == 400
    assert pay(app, GOOD, **family).status_code == 200


@pytest.mark.parametrize("address", ["", "localhost", "203.0.113", 7, ["203.0.113.8"], "203.0.113.8/24"])
def test_an_invalid_address_is_refused(app: Flask, address: Any) -> None:
    response = pay(app, GOOD, customer_ip=address)
    assert response.status_code == 422
    assert list(response.json["error"]["details"]["fields"]) == ["customer_ip"]


def test_a_shoppers_address_is_stored_only_with_the_attempts(app: Flask) -> None:
    assert pay(app, GOOD, customer_ip="198.51.100.77").status_code == 200
    assert "198.51.100.77" not in repr(list(Transaction._get_collection().find()))

"""Refunds never exceed the payment, with concurrent requests and any gateway behavior."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import redis
import requests

from app import create_app
from app.clock import utcnow
from app.events.catalog import check_event
from app.gateway import RefundRequest, Unknown
from app.models import Transaction
from app.payments.recovery import recover_due
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

PAYMENT = {"user_id": "user_1", "booking_id": "BOOK-1", "amount": 50, "payment_method": "credit_card"}
REFUND = {"booking_id": "BOOK-1", "user_id": "user_1", "reason": "Customer cancellation"}
CREATE = "POST /v1/refunds"


@pytest.fixture
def app(redis_settings: Settings, stripe_simulator: StripeSimulator) -> Iterator[Flask]:
    impatient = {"payment_gateway_read_timeout": 3.0, "payment_gateway_max_retries": 0}
    app = create_app(redis_settings.model_copy(update=stripe_simulator.settings | impatient))
    yield app
    app.extensions["movieapp"].relay.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def paid(client: FlaskClient) -> str:
    transaction_id: str = client.post("/payment/process", json=PAYMENT).json["transaction_id"]
    return transaction_id


def refund(
    client: FlaskClient, paid: str, headers: dict[str, str] | None = None, **fields: Any
) -> TestResponse:
    body = REFUND | {"original_transaction_id": paid} | fields
    return client.post("/payment/refund", json=body, headers=headers)


def refunded_at_gateway(simulator: StripeSimulator, paid: str) -> int:
    (charge,) = simulator.charges(paid)
    amount: int = charge["amount_refunded"]
    return amount


def recover(app: Flask) -> None:
    Transaction.objects(recover_after__ne=None).update(set__recover_after=utcnow() - timedelta(seconds=1))
    payments = app.extensions["movieapp"].payments
    recover_due(payments)


def test_a_full_refund_returns_the_whole_amount_and_frees_the_booking(
    client: FlaskClient, paid: str, stripe_simulator: StripeSimulator
) -> None:
    response = refund(client, paid)
    assert response.status_code == 200
    body = response.json
    refund_id = body.pop("refund_transaction_id")
    assert refund_id.startswith("REF-")
    assert body.pop("processed_at").endswith("Z")
    assert body == {
        "status": "success",
        "original_transaction_id": paid,
        "booking_id": "BOOK-1",
        "refund_amount": 50.0,
        "currency": "USD",
        "message": "Refund processed successfully.",
    }
    assert refunded_at_gateway(stripe_simulator, paid) == 5000
    status = client.get(f"/payment/status/{paid}").json
    assert (status["status"], status["amount_refunded"]) == ("refunded", 50.0)
    assert [entry["refund_transaction_id"] for entry in status["refunds"]] == [refund_id]
    of_refund = client.get(f"/payment/status/{refund_id}").json
    assert (of_refund["status"], of_refund["amount"], of_refund["original_transaction_id"]) == (
        "completed",
        50.0,
        paid,
    )
    assert client.post("/payment/process", json=PAYMENT).status_code == 200
    history = client.get("/payment/booking/BOOK-1").json["transactions"]
    assert [entry["status"] for entry in history] == ["completed", "refunded"]


def test_two_equal_partial_refunds_are_two_refunds(
    client: FlaskClient, paid: str, stripe_simulator: StripeSimulator
) -> None:
    assert [refund(client, paid, refund_amount=10).status_code for _ in range(2)] == [200, 200]
    assert refunded_at_gateway(stripe_simulator, paid) == 2000
    status = client.get(f"/payment/status/{paid}").json
    assert (status["status"], status["amount_refunded"], len(status["refunds"])) == (
        "partially_refunded",
        20.0,
        2,
    )
    assert client.post("/payment/process", json=PAYMENT).status_code == 409, "still paid in part"


def test_twenty_concurrent_refunds_never_exceed_the_payment(
    app: Flask, client: FlaskClient, paid: str, stripe_simulator: StripeSimulator
) -> None:
    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(lambda _: refund(app.test_client(), paid, refund_amount=10), range(20)))
    assert sorted(response.status_code for response in responses) == [200] * 5 + [400] * 15
    assert refunded_at_gateway(stripe_simulator, paid) == 5000
    payment = Transaction.objects.get(id=paid)
    assert (payment.status, payment.amount_refunded, payment.refund_reserved) == ("refunded", 50, 50)
    events = [entry for entry in payment.history if entry.status in ("partially_refunded", "refunded")]
    assert len(events) == 5


def test_the_same_key_refunds_once(client: FlaskClient, paid: str, stripe_simulator: StripeSimulator) -> None:
    first = refund(client, paid, {"Idempotency-Key": "r"}, refund_amount=10)
    again = refund(client, paid, {"Idempotency-Key": "r"}, refund_amount=10)
    assert again.data == first.data
    assert refunded_at_gateway(stripe_simulator, paid) == 1000


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"original_transaction_id": "TXN-none"}, 404, "TRANSACTION_NOT_FOUND"),
        ({"booking_id": "BOOK-2"}, 400, "REFUND_NOT_ALLOWED"),
        ({"user_id": "a stranger"}, 400, "REFUND_NOT_ALLOWED"),
        ({"refund_amount": 50.01}, 400, "REFUND_NOT_ALLOWED"),
        ({"refund_amount": 1e9}, 400, "REFUND_NOT_ALLOWED"),
        ({"refund_amount": 0}, 400, "INVALID_AMOUNT"),
        ({"refund_amount": -1}, 400, "INVALID_AMOUNT"),
        ({"refund_amount": 1.001}, 400, "INVALID_AMOUNT"),
        ({"refund_amount": "10"}, 422, "VALIDATION_ERROR"),
        ({"reason": ""}, 422, "VALIDATION_ERROR"),
        ({"reason": None}, 422, "VALIDATION_ERROR"),
    ],
)
def test_a_disallowed_refund_is_refused(
    client: FlaskClient,
    paid: str,
    stripe_simulator: StripeSimulator,
    fields: dict[str, Any],
    status: int,
    code: str,
) -> None:
    response = refund(client, paid, **fields)
    assert (response.status_code, response.json["error"]["code"]) == (status, code)
    assert refunded_at_gateway(stripe_simulator, paid) == 0


def test_a_failed_payment_cannot_be_refunded(client: FlaskClient) -> None:
    declined = PAYMENT | {"payment_token": "pm_card_visa_chargeDeclined"}
    failed = client.post("/payment/process", json=declined).json["transaction_id"]
    assert refund(client, failed).json["error"]["code"] == "REFUND_NOT_ALLOWED"


@pytest.mark.parametrize("kind", ["drop_after", "malformed"])
def test_a_refund_with_a_lost_response_is_found(
    app: Flask, client: FlaskClient, paid: str, stripe_simulator: StripeSimulator, kind: str
) -> None:
    stripe_simulator.fault(match=CREATE, kind=kind)
    response = refund(client, paid, refund_amount=30)
    assert (response.status_code, response.json["status"]) == (202, "pending")
    url = response.headers["Location"]
    assert client.get(url).json["status"] == "pending"
    assert refund(client, paid, refund_amount=30).status_code == 400, "what is pending is reserved"

    recover(app)
    recover(app)
    assert client.get(url).json["status"] == "completed"
    assert refunded_at_gateway(stripe_simulator, paid) == 3000
    payment = Transaction.objects.get(id=paid)
    assert (payment.amount_refunded, payment.refund_reserved) == (Decimal(30), Decimal(30))
    assert payment.recover_after is None


def test_a_refund_that_never_reached_the_gateway_fails_and_is_not_made_later(
    app: Flask, client: FlaskClient, paid: str, stripe_simulator: StripeSimulator
) -> None:
    stripe_simulator.fault(match=CREATE, kind="drop_before")
    response = refund(client, paid, refund_amount=30)
    assert (response.status_code, response.json["status"]) == (202, "pending")
    recover(app)
    assert client.get(response.headers["Location"]).json["status"] == "failed"
    assert refunded_at_gateway(stripe_simulator, paid) == 0
    late = app.extensions["movieapp"].payments.gateway.refund(
        RefundRequest(
            response.json["refund_transaction_id"],
            Transaction.objects.get(id=paid).gateway_id,
            Decimal(30),
            "USD",
        )
    )
    assert isinstance(late, Unknown), "the key is used up"
    assert refunded_at_gateway(stripe_simulator, paid) == 0
    assert refund(client, paid).status_code == 200, "the amount is free again"


def test_a_definite_refusal_releases_the_reserved_amount(
    client: FlaskClient, paid: str, stripe_simulator: StripeSimulator
) -> None:
    # The payment was refunded at the gateway, so nothing is left to refund.
    gateway_id = Transaction.objects.get(id=paid).gateway_id
    requests.post(
        f"{stripe_simulator.url}/v1/refunds",
        data={"payment_intent": gateway_id},
        headers={"Authorization": "Bearer sk_test_x"},
        timeout=5,
    ).raise_for_status()
    response = refund(client, paid)
    assert (response.status_code, response.json["error"]["code"]) == (400, "REFUND_NOT_ALLOWED")
    payment = Transaction.objects.get(id=paid)
    assert (payment.status, payment.refund_reserved, payment.amount_refunded) == ("completed", 0, 0)
    assert [entry.status for entry in payment.refunds] == ["failed"]


def test_a_refund_is_announced(client: FlaskClient, paid: str, redis_settings: Settings) -> None:
    refund_id = refund(client, paid, refund_amount=12.5).json["refund_transaction_id"]
    queue = f"{redis_settings.namespace}dramatiq:{redis_settings.namespace}notification.payment_events.msgs"
    with redis.Redis.from_url(redis_settings.redis_url) as store:

        def announced() -> list[dict[str, Any]]:
            events = [json.loads(message)["args"][0] for message in store.hvals(queue)]
            return [event for event in events if event["event_type"] == "payment.refund"]

        (event,) = wait_for(announced, 5, "no payment.refund was published")
    check_event(event)
    assert (event["refund_transaction_id"], event["original_transaction_id"]) == (refund_id, paid)
    assert (event["refund_amount"], event["reason"]) == (12.5, "Customer cancellation")


def test_an_unpaid_booking_has_no_transactions(client: FlaskClient) -> None:
    assert client.get("/payment/booking/none/at all").json == {
        "booking_id": "none/at all",
        "transactions": [],
    }

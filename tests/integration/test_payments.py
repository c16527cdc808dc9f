"""The payment API against the Stripe simulator, MongoDB's protocol and Redis, in this process."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import redis
from openapi_spec_validator import validate
from pydantic import SecretStr

from app import create_app
from app.api.json import loads
from app.canonical_json import canonical
from app.models import IdempotencyRecord, Transaction
from tests.support.ports import free_port
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

PAYMENT = {"user_id": "user_1", "booking_id": "BOOK-1", "amount": 25.5, "payment_method": "credit_card"}
CARD = {"card_number": "4242424242424242", "expiry_month": "12", "expiry_year": "2040", "cvv": "123"}


@pytest.fixture
def app(redis_settings: Settings, stripe_simulator: StripeSimulator) -> Iterator[Flask]:
    app = create_app(redis_settings.model_copy(update=stripe_simulator.settings))
    yield app
    app.extensions["movieapp"].relay.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def pay(client: FlaskClient, headers: dict[str, str] | None = None, **fields: Any) -> TestResponse:
    return client.post("/payment/process", json=PAYMENT | fields, headers=headers)


def card(number: str, **fields: Any) -> dict[str, Any]:
    return {"card_details": CARD | {"card_number": number} | fields}


def test_a_payment_is_charged_recorded_and_announced(
    client: FlaskClient, stripe_simulator: StripeSimulator
) -> None:
    response = pay(client, user_email="jane.doe@example.com", **card("4111 1111 1111 1111"))

    assert response.status_code == 200, response.text
    body = response.json
    assert body.pop("transaction_id").startswith("TXN-")
    assert body.pop("processed_at").endswith("Z")
    assert body == {
        "status": "success",
        "booking_id": "BOOK-1",
        "amount": 25.5,
        "currency": "USD",
        "payment_method": "credit_card",
        "card_brand": "visa",
        "card_last_four": "4242",
        "message": "Payment processed successfully.",
    }
    stored = Transaction.objects.get(booking_id="BOOK-1")
    assert stored.amount == Decimal("25.50")
    assert [step.status for step in stored.history] == ["pending", "completed"]
    charge = stripe_simulator.charges(stored.id)[0]
    assert charge["amount"] == 2550
    wait_for(lambda: not Transaction.objects.get(id=stored.id).outbox, 5, "the event was not published")
    assert Transaction.objects.get(id=stored.id).outbox_since is None


def test_the_two_line_curl_pays_with_the_default_test_card(client: FlaskClient) -> None:
    assert pay(client).json["status"] == "success"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("4000000000000002", "CARD_DECLINED"),
        ("4000000000009995", "INSUFFICIENT_FUNDS"),
        ("4000000000000069", "CARD_EXPIRED"),
    ],
)
def test_a_decline_is_a_400_with_a_message_for_the_customer(
    client: FlaskClient, number: str, code: str
) -> None:
    response = pay(client, **card(number))
    assert response.status_code == 400
    body = response.json or {}
    assert set(body) == {
        "status",
        "transaction_id",
        "booking_id",
        "amount",
        "payment_method",
        "error_code",
        "error_message",
        "retry_possible",
        "processed_at",
    }
    assert (body["status"], body["error_code"], body["retry_possible"]) == ("failed", code, True)

    stored = client.get(f"/payment/status/{body['transaction_id']}").json
    assert (stored["status"], stored["error_code"]) == ("failed", code)
    assert pay(client).status_code == 200, "after a failure the booking may be paid again"


def test_a_booking_is_paid_once(client: FlaskClient) -> None:
    first = pay(client).json["transaction_id"]
    response = pay(client)
    assert response.status_code == 409
    assert response.json["error"]["code"] == "DUPLICATE_TRANSACTION"
    assert response.json["error"]["details"]["transaction_id"] == first


def test_fifty_concurrent_requests_for_one_booking_charge_once(
    app: Flask, stripe_simulator: StripeSimulator
) -> None:
    with ThreadPoolExecutor(50) as pool:
        responses = list(pool.map(lambda _: pay(app.test_client()), range(50)))
    assert sorted({response.status_code for response in responses}) == [200, 409]
    assert [response.status_code for response in responses].count(200) == 1
    paid = Transaction.objects.get(booking_id="BOOK-1")
    assert len(stripe_simulator.charges(paid.id)) == 1


def test_fifty_concurrent_requests_with_one_idempotency_key_charge_once(app: Flask) -> None:
    with ThreadPoolExecutor(50) as pool:
        responses = list(pool.map(lambda _: pay(app.test_client(), {"Idempotency-Key": "k"}), range(50)))
    bodies = {response.data for response in responses if response.status_code == 200}
    assert len(bodies) == 1
    assert {response.status_code for response in responses} <= {200, 409}
    assert {response.json["error"]["code"] for response in responses if response.status_code == 409} <= {
        "IDEMPOTENCY_CONFLICT"
    }
    assert Transaction.objects(booking_id="BOOK-1").count() == 1


def test_the_same_key_and_body_return_the_first_response_byte_for_byte(client: FlaskClient) -> None:
    first = pay(client, {"Idempotency-Key": "k1"})
    again = pay(client, {"Idempotency-Key": "k1"})
    assert again.status_code == first.status_code == 200
    assert again.data == first.data
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers


def test_a_decline_is_replayed_too(client: FlaskClient) -> None:
    declined = card("4000000000000002")
    first = pay(client, {"Idempotency-Key": "d"}, **declined)
    pay(client)
    assert pay(client, {"Idempotency-Key": "d"}, **declined).data == first.data


def test_a_conflict_with_another_payment_is_not_stored(client: FlaskClient) -> None:
    waiting = pay(client, **card("4000002500003155")).json
    order = {"Idempotency-Key": "c"}
    assert pay(client, order).status_code == 409
    canceled = {name: waiting[name] for name in ("transaction_id", "booking_id")} | {"user_id": "user_1"}
    assert client.post("/payment/cancel", json=canceled).json["status"] == "canceled"
    assert pay(client, order).status_code == 200


@pytest.mark.parametrize("amount", ["25.50", "25.500", "2.55e1"])
def test_numbers_are_compared_by_value(client: FlaskClient, amount: str) -> None:
    body = json.dumps(PAYMENT | {"amount": 25.5})
    headers = {"Idempotency-Key": "v", "Content-Type": "application/json"}
    first = client.post("/payment/process", data=body, headers=headers)
    again = client.post("/payment/process", data=body.replace("25.5", amount), headers=headers)
    assert (again.status_code, again.data) == (200, first.data)
    assert again.headers["Idempotency-Replayed"] == "true"


def test_the_same_key_with_another_body_is_refused(client: FlaskClient) -> None:
    pay(client, {"Idempotency-Key": "k2"})
    response = pay(client, {"Idempotency-Key": "k2"}, amount=30)
    assert response.status_code == 422
    assert response.json["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"


def test_the_same_key_with_another_card_is_refused(client: FlaskClient) -> None:
    pay(client, {"Idempotency-Key": "k3"}, **card("4242424242424242"))
    response = pay(client, {"Idempotency-Key": "k3"}, **card("5555555555554444"))
    assert response.json["error"]["code"] == "IDEMPOTENCY_KEY_REUSED"


def test_a_stored_request_does_not_reveal_its_card(client: FlaskClient) -> None:
    body = PAYMENT | card("4242424242424242")
    assert pay(client, {"Idempotency-Key": "k4"}, **body).status_code == 200
    stored = str(list(IdempotencyRecord.collection().find()))
    details = {name: value for name, value in CARD.items() if name != "cvv"}
    for guess in (body, body | {"card_details": details}):
        text = canonical(loads(json.dumps(guess))).encode()
        assert hashlib.sha256(b"\0".join((b"POST", b"/payment/process", text))).hexdigest() not in stored


def test_a_new_key_of_hashes_refuses_no_repetition_without_card_details(
    client: FlaskClient, app: Flask
) -> None:
    first = pay(client, {"Idempotency-Key": "k6"})
    services = app.extensions["movieapp"]
    changed = services.settings.model_copy(update={"suppression_key": SecretStr("n" * 32)})
    app.extensions["movieapp"] = replace(services, settings=changed)
    again = pay(client, {"Idempotency-Key": "k6"})
    assert (again.status_code, again.data) == (first.status_code, first.data)


def test_the_security_code_is_not_in_the_fingerprint(client: FlaskClient) -> None:
    first = pay(client, {"Idempotency-Key": "k5"}, **card("4242424242424242"))
    again = pay(client, {"Idempotency-Key": "k5"}, **card("4242424242424242", cvv="999"))
    assert (again.status_code, again.json) == (200, first.json)


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_of_invalid_length_is_refused(client: FlaskClient, key: str) -> None:
    assert pay(client, {"Idempotency-Key": key}).status_code == 422


def test_three_d_secure_waits_for_the_customer(client: FlaskClient) -> None:
    response = pay(client, **card("4000002500003155"))
    assert response.status_code == 202
    assert response.json["status"] == "requires_action"
    assert response.json["client_secret"].startswith("pi_")
    status = client.get(response.headers["Location"]).get_json()
    assert status["status"] == "requires_action"
    assert status["client_secret"] == response.json["client_secret"], "a page that was reloaded goes on"
    assert pay(client).status_code == 409, "the booking is taken while the customer confirms"


def test_paypal_redirects_the_customer(client: FlaskClient) -> None:
    response = pay(client, payment_method="paypal", return_url="https://shop.example.com/done")
    assert response.status_code == 202
    assert response.json["redirect_url"].startswith("http")


def test_a_gateway_timeout_leaves_the_payment_pending(
    redis_settings: Settings, stripe_simulator: StripeSimulator
) -> None:
    quick = {"payment_gateway_read_timeout": 3.0, "payment_gateway_max_retries": 0}
    app = create_app(redis_settings.model_copy(update=stripe_simulator.settings | quick))
    stripe_simulator.fault(match="POST /v1/payment_intents", kind="delay", seconds=60)
    response = pay(app.test_client())
    assert response.status_code == 202
    assert response.json["status"] == "pending"
    assert response.headers["Retry-After"]
    assert client_status(app, response)["status"] == "pending"
    assert Transaction.objects.get(booking_id="BOOK-1").outbox == [], "nothing is guessed, nobody is mailed"
    app.extensions["movieapp"].relay.close()


def client_status(app: Flask, response: TestResponse) -> dict[str, Any]:
    return app.test_client().get(response.headers["Location"]).json or {}


def test_an_unreachable_gateway_charges_nothing(redis_settings: Settings) -> None:
    gateway = {"payment_gateway_url": f"http://127.0.0.1:{free_port()}", "payment_gateway_max_retries": 0}
    app = create_app(redis_settings.model_copy(update=gateway))
    response = pay(app.test_client())
    assert response.status_code == 502
    assert response.json["error"]["code"] == "PAYMENT_GATEWAY_ERROR"
    assert Transaction.objects.get(booking_id="BOOK-1").status == "failed"
    app.extensions["movieapp"].relay.close()


def test_without_mongodb_no_charge_is_attempted(
    redis_settings: Settings, stripe_simulator: StripeSimulator
) -> None:
    before = stripe_simulator.charges()
    unavailable = {"mongodb_uri": f"mongodb://127.0.0.1:{free_port()}/away?serverSelectionTimeoutMS=200"}
    response = pay(
        create_app(redis_settings.model_copy(update=stripe_simulator.settings | unavailable)).test_client()
    )
    assert response.status_code == 503
    assert response.json["error"]["code"] == "SERVICE_UNAVAILABLE"
    assert stripe_simulator.charges() == before


def test_payments_continue_without_redis(redis_settings: Settings, stripe_simulator: StripeSimulator) -> None:
    unavailable = {"redis_url": f"redis://127.0.0.1:{free_port()}/0", "ratelimit_enabled": True}
    app = create_app(redis_settings.model_copy(update=stripe_simulator.settings | unavailable))
    assert pay(app.test_client()).status_code == 200
    app.extensions["movieapp"].relay.close()


@pytest.fixture
def pay_three_times(
    redis_settings: Settings, stripe_simulator: StripeSimulator
) -> Iterator[Callable[[str], list[TestResponse]]]:
    """Three payments of a service with these limits."""
    apps = []

    def three_times(limits: str) -> list[TestResponse]:
        limited = {"ratelimit_enabled": True, "ratelimit_payments": limits}
        apps.append(create_app(redis_settings.model_copy(update=stripe_simulator.settings | limited)))
        return [pay(apps[-1].test_client(), booking_id=f"BOOK-{n}") for n in range(3)]

    yield three_times
    for app in apps:
        app.extensions["movieapp"].relay.close()


def test_too_many_requests_get_429_with_retry_after(
    pay_three_times: Callable[[str], list[TestResponse]],
) -> None:
    responses = pay_three_times("2 per minute")
    assert [response.status_code for response in responses] == [200, 200, 429]
    assert [response.headers["X-RateLimit-Remaining"] for response in responses] == ["1", "0", "0"]
    assert responses[2].json["error"]["code"] == "RATE_LIMITED"
    assert 1 <= int(responses[2].headers["Retry-After"]) <= 61, "the end of the minute, rounded up"
    assert "Retry-After" not in responses[0].headers


def test_a_request_refused_by_one_limit_does_not_count_against_another(
    pay_three_times: Callable[[str], list[TestResponse]], redis_settings: Settings
) -> None:
    responses = pay_three_times("3 per hour; 1 per minute")
    assert [response.status_code for response in responses] == [200, 429, 429]
    assert {response.headers["X-RateLimit-Limit"] for response in responses} == {"1"}
    with redis.Redis.from_url(redis_settings.redis_url) as store:
        counters = set(store.scan_iter(f"*{redis_settings.namespace}ratelimit*"))
        assert sorted(map(store.get, counters)) == [b"1", b"3"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ('{"amount": NaN}', 422, "VALIDATION_ERROR"),
        ("{", 422, "VALIDATION_ERROR"),
        ("[" * 60_000, 422, "VALIDATION_ERROR"),
        ("[]", 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | {"amount": "25.50"}), 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | {"amount": True}), 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | {"amount": None}), 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | {"amount": 25.555}), 400, "INVALID_AMOUNT"),
        (json.dumps(PAYMENT | {"amount": 0}), 400, "INVALID_AMOUNT"),
        (json.dumps(PAYMENT | {"amount": -5}), 400, "INVALID_AMOUNT"),
        (json.dumps(PAYMENT | {"amount": 10_000.01}), 400, "INVALID_AMOUNT"),
        (json.dumps(PAYMENT).replace("25.5", "1e400"), 400, "INVALID_AMOUNT"),
        (json.dumps(PAYMENT).replace("25.5", "9" * 5000), 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | {"currency": "XXX"}), 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | {"payment_method": "cash"}), 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | {"booking_id": "B" * 129}), 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | {"user_name": "Jane\r\nBcc: x@example.com"}), 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | {"user_name": "\ud800"}), 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | {"user_email": "jane"}), 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | {"user_phone": "555"}), 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | {"metadata": {"a.b": "c"}}), 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | {"ammount": 1}), 422, "VALIDATION_ERROR"),
        (json.dumps(PAYMENT | card("4242424242424241")), 400, "INVALID_CARD"),
        (json.dumps(PAYMENT | card("4242424242424242", cvv="12")), 400, "INVALID_CARD"),
        (json.dumps(PAYMENT | card("4242424242424242", expiry_year="2020")), 400, "CARD_EXPIRED"),
    ],
)
def test_invalid_input_gets_a_clear_error_and_charges_nothing(
    client: FlaskClient, body: str, status: int, code: str
) -> None:
    response = client.post("/payment/process", data=body, content_type="application/json")
    assert (response.status_code, response.json["error"]["code"]) == (status, code), response.text
    assert set(response.json or ()) == {"error", "timestamp", "request_id"}
    assert response.json["error"]["message"]
    assert Transaction.objects.count() == 0


def test_a_refused_field_is_named(client: FlaskClient) -> None:
    response = pay(client, user_phone="555", currency="usd")
    assert set(response.json["error"]["details"]["fields"]) == {"user_phone", "currency"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "NOT_FOUND"),
        ("GET", "/payment/status/TXN-unknown", 404, "TRANSACTION_NOT_FOUND"),
        ("GET", "/payment/process", 405, "METHOD_NOT_ALLOWED"),
    ],
)
def test_other_errors_have_the_same_envelope(
    client: FlaskClient, method: str, path: str, status: int, code: str
) -> None:
    response = client.open(path, method=method, headers={"X-Request-ID": "mine-1"})
    assert (response.status_code, response.json["error"]["code"]) == (status, code)
    assert response.json["request_id"] == response.headers["X-Request-ID"] == "mine-1"


def test_only_json_below_the_size_limit_is_accepted(client: FlaskClient) -> None:
    assert client.post("/payment/process", data="a=b").status_code == 415
    big = json.dumps(PAYMENT | {"user_name": "x" * 70_000})
    assert client.post("/payment/process", data=big, content_type="application/json").status_code == 413


def test_an_invalid_request_id_is_replaced(client: FlaskClient) -> None:
    response = client.get("/health", headers={"X-Request-ID": "a b<script>"})
    assert response.headers["X-Request-ID"].startswith("req_")


def test_health_methods_and_docs_are_served(client: FlaskClient) -> None:
    health = client.get("/health").json
    assert (health["status"], health["service"]) == ("healthy", "payment-service")
    methods = client.get("/payment/methods").json["payment_methods"]
    assert [method["id"] for method in methods] == ["credit_card", "debit_card", "paypal", "stripe"]
    assert b"swagger-ui-bundle.js" in client.get("/docs").data
    with client.get("/docs/swagger-ui-bundle.js") as script:
        assert script.status_code == 200


def test_the_openapi_document_is_valid_and_uses_no_cdn(client: FlaskClient) -> None:
    document = client.get("/docs/openapi.json").json or {}
    validate(document)
    assert set(document["paths"]) == {
        "/payment/process",
        "/payment/refund",
        "/payment/webhook",
        "/notification/bounces",
        "/notification/sms/inbound",
        "/notification/sms/status",
        "/payment/booking/{booking_id}",
        "/payment/status/{transaction_id}",
        "/payment/cancel",
        "/payment/methods",
        "/health",
        "/health/ready",
    }
    assert b"//cdn" not in client.get("/docs").data

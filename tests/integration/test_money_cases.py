"""Failures of a realistic gateway, network, or database, and the correct outcome of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from app import create_app
from app.clock import utcnow
from app.ids import new_id
from app.models import IdempotencyRecord, Transaction
from app.payments import books
from app.payments.orders import PaymentOrder, RefundOrder
from app.payments.recovery import recover_due
from app.payments.states import Actor
from app.services import EXTENSION
from tests.support import stripe
from tests.support.lost_writes import lose_acknowledgment

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from app.payments.service import Payments
    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

SECRET = "whsec_cases"
PAYMENT = {"user_id": "user_1", "booking_id": "BOOK-1", "amount": 50, "payment_method": "credit_card"}
REFUND = {"booking_id": "BOOK-1", "user_id": "user_1", "reason": "one seat less"}
ASKS = {"payment_token": "pm_card_authenticationRequired"}
CHARGES = "POST /v1/payment_intents"
REFUNDS = "POST /v1/refunds"


@pytest.fixture
def app(redis_settings: Settings, private_stripe: StripeSimulator) -> Iterator[Flask]:
    extra = {
        "payment_gateway_read_timeout": 5.0,
        "payment_gateway_max_retries": 0,
        "stripe_webhook_secret": SECRET,
        "return_url_schemes": "cinemaapp",
        "max_payment_amount": "USD:10000,JPY:1500000",
    }
    settings = type(redis_settings).model_validate(
        redis_settings.model_dump() | private_stripe.settings | extra
    )
    app = create_app(settings)
    yield app
    app.extensions[EXTENSION].relay.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def side(app: Flask) -> Payments:
    payments: Payments = app.extensions[EXTENSION].payments
    return payments


def pay(client: FlaskClient, key: str | None = None, **fields: Any) -> TestResponse:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/payment/process", json=PAYMENT | fields, headers=headers)


def refund(client: FlaskClient, paid: str, key: str | None = None, **fields: Any) -> TestResponse:
    headers = {"Idempotency-Key": key} if key else {}
    body = REFUND | {"original_transaction_id": paid} | fields
    return client.post("/payment/refund", json=body, headers=headers)


def paid(client: FlaskClient, **fields: Any) -> str:
    transaction_id: str = pay(client, **fields).json["transaction_id"]
    return transaction_id


def status(client: FlaskClient, transaction_id: str) -> dict[str, Any]:
    found = client.get(f"/payment/status/{transaction_id}").json
    assert found
    return dict(found)


def recover(side: Payments) -> None:
    """Run a worker's sweeps with everything due."""
    Transaction.objects(recover_after__ne=None).update(set__recover_after=utcnow() - timedelta(seconds=1))
    recover_due(side)


def webhook(client: FlaskClient, kind: str, subject: dict[str, Any]) -> TestResponse:
    return stripe.deliver(client, stripe.webhook(kind, subject), SECRET)


def events(booking: str = "BOOK-1") -> list[str]:
    """Return the events about a booking, in order, published or not."""
    steps = [
        (step.at, step.status)
        for payment in Transaction.objects(booking_id=booking)
        for step in payment.history
        if step.event_id
    ]
    return [name for _, name in sorted(steps)]


def test_m1_a_charge_made_hours_later_by_the_same_client_is_found(
    client: FlaskClient, side: Payments, private_stripe: StripeSimulator
) -> None:
    private_stripe.fault(match=CHARGES, kind="drop_before")
    assert pay(client, "k").status_code == 202
    two_hours_ago = utcnow() - timedelta(hours=2)
    Transaction.objects.update(set__created_at=two_hours_ago, set__attempted_at=two_hours_ago)
    IdempotencyRecord.objects.update(unset__status=True, set__claimed_at=two_hours_ago)
    private_stripe.fault(match=CHARGES, kind="drop_after")
    assert pay(client, "k").status_code == 202
    recover(side)
    assert Transaction.objects.get().status == "completed"
    assert pay(client).status_code == 409
    assert len(private_stripe.charges()) == 1


@pytest.mark.parametrize("by_webhook", [True, False])
@pytest.mark.parametrize(("end", "target"), [("succeed", "completed"), ("fail", "failed")])
def test_m2_a_pending_refund_follows_the_gateway(
    client: FlaskClient,
    side: Payments,
    private_stripe: StripeSimulator,
    end: str,
    target: str,
    by_webhook: bool,
) -> None:
    transaction_id = paid(client, payment_token="pm_card_pendingRefund")
    assert refund(client, transaction_id).status_code == 202
    recover(side)
    assert status(client, transaction_id)["refunds"][0]["status"] == "pending"
    [created] = private_stripe.state()["refunds"]
    after = private_stripe.control(f"refunds/{created['id']}/{end}")
    if by_webhook:
        assert webhook(client, "refund.updated", after).status_code == 200
    else:
        recover(side)
    stored = status(client, transaction_id)
    assert stored["refunds"][0]["status"] == target
    assert stored["status"] == ("refunded" if target == "completed" else "completed")


@pytest.mark.parametrize("fault", [{"kind": "error", "status": 500, "after": True}, {"kind": "malformed"}])
def test_m3_a_stored_error_after_the_charge_is_looked_up(
    client: FlaskClient, side: Payments, private_stripe: StripeSimulator, fault: dict[str, Any]
) -> None:
    private_stripe.fault(match=CHARGES, **fault)
    assert pay(client, "k").status_code == 202
    recover(side)
    assert Transaction.objects.get().status == "completed"
    assert len(private_stripe.charges()) == 1
    assert events() == ["completed"]


def test_m4_an_unacknowledged_insert_is_never_charged(
    client: FlaskClient, side: Payments, private_stripe: StripeSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_acknowledgment(monkeypatch, "insert_one", "BOOK-1")
    assert pay(client).status_code == 503
    recover(side)
    assert private_stripe.charges() == []
    assert Transaction.objects.get().status == "failed"
    assert pay(client).status_code == 200, "the booking is free again"
    assert len(private_stripe.charges()) == 1


def test_m4_the_same_client_continues_after_an_unacknowledged_insert(
    client: FlaskClient, private_stripe: StripeSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_acknowledgment(monkeypatch, "insert_one", "BOOK-1")
    assert pay(client, "k").status_code == 503
    again = pay(client, "k")
    assert (again.status_code, again.json["status"]) == (200, "success")
    assert len(private_stripe.charges()) == Transaction.objects.count() == 1


def test_m4_an_unacknowledged_refund_is_made_only_by_its_repetition(
    client: FlaskClient, side: Payments, private_stripe: StripeSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    transaction_id = paid(client)
    lose_acknowledgment(monkeypatch, "update_one", "REF-")
    assert refund(client, transaction_id, refund_amount=10).status_code == 503
    assert refund(client, transaction_id, refund_amount=10).status_code == 200
    recover(side)
    assert private_stripe.charges(transaction_id)[0]["amount_refunded"] == 1000
    assert sorted(one["status"] for one in status(client, transaction_id)["refunds"]) == [
        "completed",
        "failed",
    ]


def test_m4_an_unacknowledged_outcome_is_recorded_once(
    client: FlaskClient, private_stripe: StripeSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "_PAUSE_SECONDS", 0.0)
    lose_acknowledgment(monkeypatch, "update_one", "completed")
    assert pay(client).status_code == 200
    assert events() == ["completed"]


@pytest.mark.parametrize("amount", [50, 20])
def test_m5_a_refund_recorded_by_a_webhook_is_returned_as_recorded(
    side: Payments, client: FlaskClient, amount: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    transaction_id = paid(client)
    real = side.gateway.refund

    def slow(request: Any) -> Any:
        outcome = real(request)
        side.refunds.synchronize(side.books.get(transaction_id), Actor.WEBHOOK)
        return outcome

    monkeypatch.setattr(side.gateway, "refund", slow)
    response = refund(client, transaction_id, "r", refund_amount=amount)
    assert (response.status_code, response.json["status"]) == (200, "success")
    assert refund(client, transaction_id, "r", refund_amount=amount).data == response.data
    assert len(Transaction.objects.get().refunds) == 1


@pytest.mark.parametrize("gateway_status", [429, 401])
def test_m6_and_m7_a_transient_refusal_is_neither_stored_nor_announced(
    client: FlaskClient, private_stripe: StripeSimulator, gateway_status: int
) -> None:
    private_stripe.fault(match=CHARGES, kind="error", status=gateway_status)
    refused = pay(client, "k")
    assert (refused.status_code, refused.json["error"]["code"]) == (502, "PAYMENT_GATEWAY_ERROR")
    assert events() == []
    private_stripe.clear_faults()
    again = pay(client, "k")
    assert again.status_code == 200
    assert "Idempotency-Replayed" not in again.headers
    assert len(private_stripe.charges()) == 1


@pytest.mark.parametrize("gateway_status", [429, 401])
def test_m7_a_refund_refused_temporarily_by_the_gateway_is_a_transient_error(
    client: FlaskClient, private_stripe: StripeSimulator, gateway_status: int
) -> None:
    transaction_id = paid(client)
    private_stripe.fault(match=REFUNDS, kind="error", status=gateway_status)
    refused = refund(client, transaction_id, "r")
    assert (refused.status_code, refused.json["error"]["code"]) == (502, "PAYMENT_GATEWAY_ERROR")
    private_stripe.clear_faults()
    assert refund(client, transaction_id, "r").status_code == 200
    assert private_stripe.charges(transaction_id)[0]["amount_refunded"] == 5000


def test_m8_two_attempts_at_one_refund_record_it_once(side: Payments, client: FlaskClient) -> None:
    transaction_id = paid(client)
    order = RefundOrder(transaction_id, "BOOK-1", "user_1", "r", Decimal(10))
    refund_id = new_id("REF-")
    side.refunds.refund(order, refund_id)
    side.refunds.refund(order, refund_id)
    payment = Transaction.objects.get()
    assert [one.id for one in payment.refunds] == [refund_id]
    assert payment.amount_refunded == payment.refund_reserved == Decimal(10)


def test_m8_only_the_owner_of_a_key_stores_its_response(
    client: FlaskClient, side: Payments, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = side.gateway.charge

    def slow(charge: Any) -> Any:
        monkeypatch.setattr(side.gateway, "charge", real)
        outcome = real(charge)
        IdempotencyRecord.objects.update(set__claimed_at=utcnow() - timedelta(hours=1))
        taken_over.append(pay(client, "k"))
        return outcome

    taken_over: list[TestResponse] = []
    monkeypatch.setattr(side.gateway, "charge", slow)
    first = pay(client, "k")
    assert [response.status_code for response in (first, *taken_over)] == [200, 200]
    assert first.data == taken_over[0].data == pay(client, "k").data


@pytest.mark.parametrize("automatic", [True, False])
def test_m9_a_charge_of_a_failed_payment_is_refunded_or_kept_for_an_operator(
    redis_settings: Settings, private_stripe: StripeSimulator, client: FlaskClient, automatic: bool
) -> None:
    changes = private_stripe.settings | {"refund_stray_charges": automatic}
    app = create_app(redis_settings.model_copy(update=changes))
    side = app.extensions[EXTENSION].payments
    real = side.gateway.charge

    def charge(order: Any) -> Any:
        outcome = real(order)
        stored = side.books.get(order.transaction_id)
        side.give_up(stored, Actor.RECOVERY)
        return outcome

    side.gateway.charge = charge
    result = side.pay(PaymentOrder("user_1", "BOOK-1", Decimal(50), "USD", "credit_card"), new_id("TXN-"))
    refunded = private_stripe.charges(result.payment.id)[0]["amount_refunded"]
    assert refunded == (5000 if automatic else 0)
    stored = Transaction.objects.get()
    assert stored.status == ("refunded" if automatic else "failed")
    assert "charged_although_failed" in [step.status for step in stored.history]
    app.extensions[EXTENSION].relay.close()


@pytest.mark.parametrize(
    "foreign",
    [{"amount": 50}, {"currency": "eur"}, {"metadata[booking_id]": "BOOK-2"}, {"metadata[namespace]": "x"}],
)
def test_m10_a_foreign_payment_that_names_ours_changes_nothing(
    client: FlaskClient, private_stripe: StripeSimulator, foreign: dict[str, Any]
) -> None:
    private_stripe.fault(match=CHARGES, kind="drop_before")
    transaction_id = paid(client)
    stored = Transaction.objects.get()
    params = {
        "amount": 5000,
        "currency": "usd",
        "confirm": "true",
        "payment_method": "pm_card_visa",
        "payment_method_types[0]": "card",
        "metadata[transaction_id]": transaction_id,
        "metadata[booking_id]": stored.booking_id,
        "metadata[user_id]": stored.user_id,
    }
    intent = private_stripe.call("POST", "/v1/payment_intents", **(params | foreign))
    assert webhook(client, "payment_intent.succeeded", intent).status_code == 200
    assert Transaction.objects.get().status == "pending"


def test_m13_an_abandoned_challenge_can_be_canceled_or_replaced(
    client: FlaskClient, private_stripe: StripeSimulator
) -> None:
    first = pay(client, **ASKS).json
    assert status(client, first["transaction_id"])["client_secret"] == first["client_secret"]
    other = pay(client, replace_open=True)
    assert other.status_code == 200
    assert status(client, first["transaction_id"])["status"] == "canceled"
    assert private_stripe.intent(first["transaction_id"])["status"] == "canceled"
    assert events() == ["canceled", "completed"]


def test_m13_a_payment_of_another_user_is_not_replaced(client: FlaskClient) -> None:
    first = pay(client, **ASKS).json
    other = pay(client, user_id="user_2", replace_open=True)
    assert (other.status_code, other.json["error"]["details"]["transaction_id"]) == (
        409,
        first["transaction_id"],
    )


@pytest.mark.parametrize("door", ["cancel", "replace"])
def test_m13_a_payment_charged_during_the_cancellation_is_not_canceled(
    client: FlaskClient, private_stripe: StripeSimulator, door: str
) -> None:
    first = pay(client, **ASKS).json
    intent = private_stripe.intent(first["transaction_id"])["id"]
    private_stripe.control(f"payment_intents/{intent}/authenticate", outcome="succeed")
    if door == "cancel":
        order = {"transaction_id": first["transaction_id"], "booking_id": "BOOK-1", "user_id": "user_1"}
        response = client.post("/payment/cancel", json=order)
        assert response.json["error"]["code"] == "PAYMENT_NOT_CANCELABLE"
        assert response.json["error"]["details"]["status"] == "completed"
    else:
        response = pay(client, replace_open=True)
        assert response.json["error"]["details"]["transaction_id"] == first["transaction_id"]
    assert response.status_code == 409
    assert len(private_stripe.charges()) == 1
    assert status(client, first["transaction_id"])["status"] == "completed"


@pytest.mark.parametrize("strange", [{"user_id": "user_2"}, {"booking_id": "B"}, {"transaction_id": "TXN-x"}])
def test_only_the_user_of_a_payment_can_cancel_it(client: FlaskClient, strange: dict[str, str]) -> None:
    first = pay(client, **ASKS).json
    order = {"transaction_id": first["transaction_id"], "booking_id": "BOOK-1", "user_id": "user_1"}
    assert client.post("/payment/cancel", json=order | strange).status_code == 404
    assert client.post("/payment/cancel", json=order).json["status"] == "canceled"
    again = client.post("/payment/cancel", json=order)
    assert (again.status_code, again.json["status"]) == (200, "canceled")


def test_m14_a_refund_of_a_disputed_payment_is_refused_with_its_reason(
    client: FlaskClient, private_stripe: StripeSimulator
) -> None:
    transaction_id = paid(client)
    [charge] = private_stripe.charges(transaction_id)
    dispute = private_stripe.control(f"charges/{charge['id']}/dispute")
    assert webhook(client, "charge.dispute.created", dispute).status_code == 200
    stored = status(client, transaction_id)
    assert (stored["status"], stored["disputed"]) == ("completed", True)
    refused = refund(client, transaction_id)
    assert refused.json["error"]["code"] == "REFUND_NOT_ALLOWED"
    assert "disputed" in refused.json["error"]["message"]
    won = private_stripe.control(f"charges/{charge['id']}/dispute/close", status="won")
    webhook(client, "charge.dispute.closed", won)
    assert not status(client, transaction_id)["disputed"]


def test_m19_amount_limits_are_per_currency(client: FlaskClient) -> None:
    assert pay(client, currency="JPY", amount=1_500_000).status_code == 200
    assert pay(client, booking_id="B-2", currency="KRW", amount=15_000).status_code == 200
    for currency, amount in (("USD", 10_000.01), ("JPY", 1_500_001)):
        refused = pay(client, booking_id="B-3", currency=currency, amount=amount)
        assert refused.json["error"]["code"] == "INVALID_AMOUNT"


@pytest.mark.parametrize("amount", ["1e99999999999999999999", "1e-99999999999999999999", "1e-400", "9e999"])
def test_m18_absurd_numbers_are_refused(client: FlaskClient, amount: str) -> None:
    body = json.dumps(PAYMENT).replace("50", amount)
    for headers in ({}, {"Idempotency-Key": "k"}):
        response = client.post(
            "/payment/process", data=body, content_type="application/json", headers=headers
        )
        assert 400 <= response.status_code < 500


@pytest.mark.parametrize(
    ("url", "taken"),
    [
        ("cinemaapp://paid", True),
        ("https://shop.example.com/paid", True),
        ("http://localhost:3000/paid", True),
        ("http://shop.example.com/paid", False),
        ("otherapp://paid", False),
        ("javascript://alert(1)", False),
    ],
)
def test_m21_return_urls_need_an_allowed_scheme(client: FlaskClient, url: str, taken: bool) -> None:
    response = pay(client, return_url=url)
    assert response.status_code == (200 if taken else 422)
    if not taken:
        assert "return_url" in response.text


def test_m22_a_thin_event_is_ignored(client: FlaskClient) -> None:
    event = {
        "id": "evt_v2",
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "created": "2026-11-26T16:45:05.000Z",
        "livemode": False,
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
    }
    assert stripe.deliver(client, event, SECRET).status_code == 200


def test_m23_reads_before_decisions_go_to_the_primary(redis_settings: Settings) -> None:
    uri = redis_settings.mongodb_uri
    lagging = uri + ("&" if "?" in uri else "?") + "readPreference=secondaryPreferred&w=1"
    create_app(redis_settings.model_copy(update={"mongodb_uri": lagging}))
    collection = Transaction.collection()
    assert collection.read_preference.name == "Primary"
    assert collection.write_concern.document == {"w": "majority", "wtimeout": 5000}


def test_m24_due_payments_are_looked_up_concurrently(
    client: FlaskClient, side: Payments, private_stripe: StripeSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_stripe.fault(match=CHARGES, kind="drop_after", times=0)
    for number in range(24):
        assert pay(client, booking_id=f"B-{number}").status_code == 202
    private_stripe.clear_faults()
    Transaction.objects.update(set__gateway_id=None)
    listed: list[str] = []
    real = side.gateway.payments

    def counted(*args: Any) -> Any:
        listed.append("list")
        return real(*args)

    monkeypatch.setattr(side.gateway, "payments", counted)
    recover(side)
    assert listed == ["list"], "one listing serves all"
    assert Transaction.objects(status="completed").count() == 24
    assert len(private_stripe.charges()) == 24


def test_m24_two_workers_share_the_due_payments(
    client: FlaskClient, side: Payments, private_stripe: StripeSimulator
) -> None:
    private_stripe.fault(match=CHARGES, kind="drop_after", times=0)
    for number in range(6):
        pay(client, booking_id=f"B-{number}")
    private_stripe.clear_faults()
    Transaction.objects.update(set__recover_after=utcnow() - timedelta(seconds=1))
    with ThreadPoolExecutor(2) as workers:
        claimed = list(workers.map(lambda _: recover_due(side, 3), range(2)))
    assert sum(claimed) >= 3
    recover(side)
    assert Transaction.objects(status="completed").count() == 6
    assert all(len(events(f"B-{number}")) == 1 for number in range(6))


def test_the_return_page_shows_the_outcome_of_the_payment(client: FlaskClient) -> None:
    for token, words in (
        ("pm_card_visa", "your payment has arrived"),
        ("pm_card_visa_chargeDeclined", "The payment was not made"),
        ("pm_card_authenticationRequired", "is being processed"),
    ):
        transaction_id = pay(client, booking_id=token, payment_token=token).json["transaction_id"]
        page = client.get(f"/payment/return/{transaction_id}")
        assert page.status_code == 200
        assert words in page.text
        assert page.headers["Cache-Control"] == "no-store"
    assert client.get("/payment/return/TXN-unknown").status_code == 404


def test_a_payment_element_waits_for_its_customer(
    client: FlaskClient, private_stripe: StripeSimulator
) -> None:
    waiting = pay(client, payment_method="stripe")
    assert (waiting.status_code, waiting.json["status"]) == (202, "requires_action")
    assert waiting.json["client_secret"].startswith("pi_")
    intent = private_stripe.intent(waiting.json["transaction_id"])
    assert intent["automatic_payment_methods"]["enabled"]
    assert intent["status"] == "requires_payment_method"

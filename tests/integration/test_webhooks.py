"""Stripe's webhooks: accepted only with a valid signature, with the same result in any order."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from app import create_app
from app.gateway import ActionRequired, Charge, Charged, PaymentOutcome
from app.gateway.stripe.gateway import StripeGateway
from app.ids import new_id
from app.models import Transaction
from app.payments.books import Books
from app.payments.ledger.mongo import MongoLedger
from app.payments.orders import PaymentOrder
from app.payments.outbox import Relay
from app.payments.service import Payments
from app.payments.states import Actor
from tests.support import stripe
from tests.support.stripe import webhook

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

OLD, NEW = "whsec_old", "whsec_new"
PAYMENT = {"user_id": "user_1", "booking_id": "BOOK-1", "amount": 50, "payment_method": "credit_card"}


@pytest.fixture
def client(redis_settings: Settings, stripe_simulator: StripeSimulator) -> Iterator[FlaskClient]:
    secrets = {"stripe_webhook_secret": f"{OLD},{NEW}", "payment_gateway_max_retries": 0}
    settings = redis_settings.model_copy(update=stripe_simulator.settings | secrets)
    app = create_app(type(settings).model_validate(settings.model_dump() | secrets))
    yield app.test_client()
    app.extensions["movieapp"].relay.close()


def deliver(
    client: FlaskClient, kind: str, subject: dict[str, Any], secret: str = NEW, age: int = 0, **fields: Any
) -> TestResponse:
    event = webhook(kind, subject, created=int(time.time()) - age) | fields
    return stripe.deliver(client, event, secret, age)


def authenticate(simulator: StripeSimulator, payment: Transaction, outcome: str) -> dict[str, Any]:
    return simulator.control(f"payment_intents/{payment.gateway_id}/authenticate", outcome=outcome)


def stored(booking: str = "BOOK-1") -> Transaction:
    payment: Transaction = Transaction.objects(booking_id=booking).order_by("-created_at").first()
    return payment


def test_a_webhook_settles_a_3d_secure_payment(
    client: FlaskClient, stripe_simulator: StripeSimulator
) -> None:
    client.post("/payment/process", json=PAYMENT | {"payment_token": "pm_card_authenticationRequired"})
    intent = authenticate(stripe_simulator, stored(), "succeed")
    response = deliver(client, "payment_intent.succeeded", intent)
    assert (response.status_code, response.json) == (200, {"received": True, "new": True})
    assert [(step.status, step.actor) for step in stored().history] == [
        ("pending", "api"),
        ("requires_action", "api"),
        ("completed", "webhook"),
    ]


def test_a_payment_with_a_lost_response_is_found_by_its_metadata(
    client: FlaskClient, stripe_simulator: StripeSimulator
) -> None:
    stripe_simulator.fault(match="POST /v1/payment_intents", kind="drop_after")
    assert client.post("/payment/process", json=PAYMENT).json["status"] == "pending"
    (charge,) = stripe_simulator.charges(stored().id)
    intent = stripe_simulator.call("GET", f"/v1/payment_intents/{charge['payment_intent']}")
    deliver(client, "payment_intent.succeeded", intent)
    assert (stored().status, stored().gateway_id) == ("completed", intent["id"])


class FastWebhooks(StripeGateway):
    """A gateway whose webhooks arrive before its responses."""

    side: Payments

    def charge(self, charge: Charge) -> PaymentOutcome:
        outcome = super().charge(charge)
        assert isinstance(outcome, Charged | ActionRequired)
        fact = self.payment(outcome.gateway_id)
        assert fact
        self.side.settle_by(self.side.books.get(charge.transaction_id), fact, Actor.WEBHOOK)
        return outcome


@pytest.mark.parametrize(
    ("token", "status"),
    [("pm_card_visa", "completed"), ("pm_card_authenticationRequired", "requires_action")],
)
def test_a_webhook_before_the_response_does_not_change_the_response(
    client: FlaskClient, redis_settings: Settings, stripe_simulator: StripeSimulator, token: str, status: str
) -> None:
    settings = redis_settings.model_copy(update=stripe_simulator.settings)
    gateway = FastWebhooks(settings)
    payments = gateway.side = Payments(settings, gateway, Books(MongoLedger()))
    order = PaymentOrder("user_1", "BOOK-1", Decimal(50), "USD", "credit_card", payment_token=token)
    result = payments.pay(order, new_id("TXN-"))
    assert result.payment.status == stored().status == status
    assert (result.action is not None) == (status == "requires_action"), "the client still gets its secret"
    assert [step.actor for step in stored().history] == ["api", "webhook"]
    assert len(stored().outbox) == (status == "completed")


def test_reordered_and_repeated_webhooks_lead_to_the_same_state(
    client: FlaskClient, stripe_simulator: StripeSimulator
) -> None:
    kinds = ("requires_action", "processing", "payment_failed", "succeeded")
    for number, order in enumerate(itertools.permutations(kinds)):
        booking = f"BOOK-{number}"
        token = {"payment_token": "pm_card_authenticationRequired", "booking_id": booking}
        client.post("/payment/process", json=PAYMENT | token)
        intent = authenticate(stripe_simulator, stored(booking), "succeed")
        for kind in (*order, *order):
            assert deliver(client, f"payment_intent.{kind}", intent).status_code == 200
        payment = stored(booking)
        assert [step.status for step in payment.history] == ["pending", "requires_action", "completed"]


def test_a_repeated_webhook_is_recognized(client: FlaskClient) -> None:
    subject = {"id": "pi_unknown", "status": "succeeded", "metadata": {}}
    first = deliver(client, "payment_intent.succeeded", subject, id="evt_1")
    again = deliver(client, "payment_intent.succeeded", subject, id="evt_1")
    assert (first.json["new"], again.json["new"]) == (True, False)


def test_unknown_types_and_foreign_payments_are_accepted_and_ignored(client: FlaskClient) -> None:
    assert deliver(client, "customer.created", {"id": "cus_1"}).status_code == 200
    assert deliver(client, "charge.refunded", {"id": "ch_1", "payment_intent": "pi_none"}).status_code == 200
    assert deliver(client, "refund.failed", {"id": "re_1", "payment_intent": None}).status_code == 200


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_both_secrets_are_accepted_during_a_rotation(client: FlaskClient, secret: str) -> None:
    assert deliver(client, "customer.created", {}, secret).status_code == 200


def test_a_webhook_without_stripes_signature_is_refused(client: FlaskClient) -> None:
    subject = {"id": "pi_1", "status": "succeeded", "metadata": {}}
    refused = [
        deliver(client, "payment_intent.succeeded", subject, secret="whsec_forged"),
        deliver(client, "payment_intent.succeeded", subject, age=301),
        deliver(client, "payment_intent.succeeded", subject, livemode=True),
        deliver(client, "payment_intent.succeeded", subject, data=None),
        client.post("/payment/webhook", data="{}", headers={"Stripe-Signature": "t=1,v1=00"}),
        client.post("/payment/webhook", data=b"\xff", headers={"Stripe-Signature": "x"}),
        client.post("/payment/webhook", data="{}"),
    ]
    assert {response.status_code for response in refused} == {400}
    assert {response.json["error"]["code"] for response in refused} == {"INVALID_SIGNATURE"}


def test_without_a_secret_every_webhook_is_refused(redis_settings: Settings) -> None:
    client = create_app(redis_settings).test_client()
    assert deliver(client, "customer.created", {}, secret="").status_code == 400


def test_a_refund_that_fails_later_releases_its_amount(
    client: FlaskClient, stripe_simulator: StripeSimulator
) -> None:
    paid = client.post("/payment/process", json=PAYMENT).json["transaction_id"]
    order = {"original_transaction_id": paid, "booking_id": "BOOK-1", "user_id": "user_1", "reason": "r"}
    client.post("/payment/refund", json=order | {"refund_amount": 20})
    client.post("/payment/refund", json=order | {"refund_amount": 30})
    assert stored().status == "refunded"

    for refund, status, left in zip(
        stored().refunds, ("partially_refunded", "completed"), (30, 0), strict=True
    ):
        failed = stripe_simulator.control(f"refunds/{refund.gateway_id}/fail")
        for _ in range(2):
            assert deliver(client, "refund.failed", failed).status_code == 200
        payment = stored()
        assert (payment.status, payment.amount_refunded, payment.refund_reserved) == (status, left, left)
    assert client.post("/payment/process", json=PAYMENT).status_code == 409, "the booking is paid again"
    assert client.post("/payment/refund", json=order).status_code == 200, "and can be refunded again"


def test_a_dispute_is_recorded_shown_and_not_reopened(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Relay, "start", lambda _: None)  # published events leave the outbox
    paid = client.post("/payment/process", json=PAYMENT).json["transaction_id"]
    dispute = {
        "id": "dp_1",
        "payment_intent": stored().gateway_id,
        "reason": "fraudulent",
        "amount": 5000,
        "currency": "usd",
        "created": int(time.time()),
        "evidence_details": {"due_by": 1_797_379_199},
    }
    opened = dispute | {"status": "needs_response"}
    for subject, kind in ((opened, "created"), (dispute | {"status": "lost"}, "closed"), (opened, "created")):
        deliver(client, f"charge.dispute.{kind}", subject)
    status = client.get(f"/payment/status/{paid}").json
    assert status["disputes"] == [
        {
            "dispute_id": "dp_1",
            "status": "lost",
            "amount": 50.0,
            "reason": "fraudulent",
            "evidence_due_by": "2026-12-15T23:59:59.000Z",
        }
    ]
    assert (status["status"], status["disputed"]) == ("completed", True)
    announced = [entry.event_type for entry in stored().outbox]
    assert announced == ["payment.success", "payment.disputed", "payment.disputed"]


def test_a_thin_event_is_accepted_and_changes_nothing(client: FlaskClient) -> None:
    thin: dict[str, Any] = {"object": "v2.core.event", "created": "2026-12-01T18:30:02.000Z", "data": None}
    response = deliver(client, "v1.billing.meter.no_meter_found", {}, **thin)
    assert (response.status_code, response.json) == (200, {"received": True, "new": True})


def test_a_cancellation_at_paypal_is_not_reported_as_a_declined_card(
    client: FlaskClient, stripe_simulator: StripeSimulator
) -> None:
    order = PAYMENT | {"payment_method": "paypal", "return_url": "https://shop.example.com/paid"}
    waiting = client.post("/payment/process", json=order)
    assert waiting.json["status"] == "requires_action"
    intent = authenticate(stripe_simulator, stored(), "fail")
    deliver(client, "payment_intent.payment_failed", intent)
    status = client.get(waiting.headers["Location"]).json
    assert (status["status"], status["error_code"]) == ("failed", "CUSTOMER_CANCELED")
    assert "canceled" in status["error_message"]
    assert "card" not in status["error_message"]

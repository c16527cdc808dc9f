"""Settle now: an operator looks up a payment with a lost response, without charging."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from app import create_app
from app.ids import new_id
from app.models import OperatorAction
from app.payments.orders import PaymentOrder
from app.payments.records import Payment
from tests.integration.test_dashboard_access import form_token, signed_in

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

CREATE = "POST /v1/payment_intents"


@pytest.fixture
def app(redis_settings: Settings, private_stripe: StripeSimulator) -> Iterator[Flask]:
    changes = private_stripe.settings | {"auth_required": True, "payment_gateway_max_retries": 0}
    app = create_app(redis_settings.model_copy(update=changes))
    yield app
    app.extensions["movieapp"].relay.close()


def pay_without_response(app: Flask, stripe: StripeSimulator, kind: str) -> Payment:
    stripe.fault(match=CREATE, kind=kind)
    order = PaymentOrder("user_1", "BOOK-1", Decimal(25), "USD", "credit_card")
    payment: Payment = app.extensions["movieapp"].payments.pay(order, new_id("TXN-")).payment
    assert (payment.status, payment.gateway_id) == ("pending", None)
    return payment


def settle(app: Flask, payment: Payment) -> str:
    """Confirm the action as an operator, and return the page that follows."""
    client = signed_in(app, "ops:read", "ops:money")
    address = f"/dashboard/payments/{payment.id}"
    page = client.get(address)
    assert "Settle now" in page.text
    form = {"token": form_token(page), "action": "settle"}
    assert "Nothing is charged." in client.post(f"{address}/confirm", data=form).text
    return client.post(f"{address}/act", data=form, follow_redirects=True).text


def test_charged_payment_without_a_gateway_id_is_found_in_the_gateways_list(
    app: Flask, private_stripe: StripeSimulator
) -> None:
    payment = pay_without_response(app, private_stripe, "drop_after")
    assert "The gateway reports the status completed." in settle(app, payment)
    stored = app.extensions["movieapp"].payments.books.get(payment.id)
    assert (stored.status, stored.history[-1].actor) == ("completed", "operator")
    assert stored.gateway_id == private_stripe.intent(payment.id)["id"]
    assert len(private_stripe.charges(payment.id)) == 1
    assert [each.action for each in OperatorAction.objects] == ["payments.settle"]


def test_payment_that_the_gateway_does_not_list_stays_open_and_is_not_charged(
    app: Flask, private_stripe: StripeSimulator
) -> None:
    payment = pay_without_response(app, private_stripe, "drop_before")
    page = settle(app, payment)
    assert "The gateway does not list this payment. A worker looks again at " in page
    stored = app.extensions["movieapp"].payments.books.get(payment.id)
    assert (stored.status, stored.recover_after) == ("pending", payment.recover_after)
    assert private_stripe.state()["payment_intents"] == []


def test_unavailable_gateway_is_named(app: Flask, private_stripe: StripeSimulator) -> None:
    payment = pay_without_response(app, private_stripe, "drop_after")
    private_stripe.fault(match="GET /v1/payment_intents", kind="error", status=500, times=0)
    assert 'class="notice bad"' in settle(app, payment)
    assert app.extensions["movieapp"].payments.books.get(payment.id).status == "pending"

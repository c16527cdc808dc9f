"""The gateway with the Stripe simulator: requests carried out, not carried out, and unknown."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from app import declines
from app.gateway import (
    ActionRequired,
    AmountRefused,
    Canceled,
    Charge,
    Charged,
    Declined,
    Gateway,
    GatewayUnavailable,
    Refunded,
    RefundFailed,
    RefundPending,
    RefundRequest,
    Refused,
    Unknown,
    make_gateway,
)
from app.ids import new_id
from tests.support.fake_stripe import settings

if TYPE_CHECKING:
    from tests.support.stripe import StripeSimulator

CREATE = "POST /v1/payment_intents"
REFUND = "POST /v1/refunds"


def gateway(simulator: StripeSimulator, **changes: Any) -> Gateway:
    return make_gateway(settings(**simulator.settings, **changes))


def charge(method: str | None = "pm_card_visa", kind: Any = "card", **fields: Any) -> Charge:
    return Charge(
        new_id("TXN-"), Decimal("25.50"), "USD", f"BOOK-{new_id('')}", "user_1", method, kind, **fields
    )


def recently() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=1)


def test_a_charge_is_made_once_however_often_it_is_requested(stripe_simulator: StripeSimulator) -> None:
    stripe, order = gateway(stripe_simulator), charge()
    first = stripe.charge(order)
    assert isinstance(first, Charged)
    assert stripe.charge(order) == first
    assert len(stripe_simulator.charges(order.transaction_id)) == 1
    found = stripe.payment(first.gateway_id)
    assert found
    assert (found.namespace, found.transaction_id, found.booking_id, found.user_id) == (
        "shop",
        order.transaction_id,
        order.booking_id,
        "user_1",
    )
    assert (found.amount, found.currency, found.outcome) == (Decimal("25.50"), "USD", first)


@pytest.mark.parametrize(("amount", "currency"), [("1500", "JPY"), ("100.00", "ISK"), ("1.230", "KWD")])
def test_amounts_are_returned_as_sent(stripe_simulator: StripeSimulator, amount: str, currency: str) -> None:
    stripe = gateway(stripe_simulator)
    order = Charge(new_id("TXN-"), Decimal(amount), currency, "BOOK-1", "user_1", "pm_card_visa", "card")
    created = stripe.charge(order)
    assert isinstance(created, Charged)
    found = stripe.payment(created.gateway_id)
    assert found
    assert (str(found.amount), found.currency) == (amount, currency)


def test_a_declined_card_is_a_decline_with_its_reason(stripe_simulator: StripeSimulator) -> None:
    outcome = gateway(stripe_simulator).charge(charge("pm_card_visa_chargeDeclinedInsufficientFunds"))
    assert isinstance(outcome, Declined)
    assert outcome.decline is declines.FUNDS
    assert outcome.gateway_id


@pytest.mark.parametrize(
    ("method", "kind", "decline"),
    [
        ("pm_card_authenticationRequired", "card", declines.AUTHENTICATION),
        (None, "paypal", declines.CUSTOMER_CANCELED),
    ],
)
def test_a_customer_who_fails_authentication_is_not_charged(
    stripe_simulator: StripeSimulator, method: str | None, kind: str, decline: declines.Decline
) -> None:
    stripe = gateway(stripe_simulator)
    waiting = stripe.charge(charge(method, kind, return_url="https://shop.example.com/paid"))
    assert isinstance(waiting, ActionRequired)
    assert waiting.client_secret
    assert waiting.redirect_url
    stripe_simulator.control(f"payment_intents/{waiting.gateway_id}/authenticate", outcome="fail")
    found = stripe.payment(waiting.gateway_id)
    assert found
    assert isinstance(found.outcome, Declined)
    assert found.outcome.decline is decline
    canceled = stripe.cancel(waiting.gateway_id, abandoned=False)
    assert canceled.outcome == Canceled(waiting.gateway_id, decline, requested=True)
    assert stripe.cancel(waiting.gateway_id, abandoned=False) == canceled


def test_a_customer_who_pays_just_before_the_cancellation(stripe_simulator: StripeSimulator) -> None:
    stripe = gateway(stripe_simulator)
    waiting = stripe.charge(charge("pm_card_authenticationRequired"))
    assert isinstance(waiting, ActionRequired)
    stripe_simulator.control(f"payment_intents/{waiting.gateway_id}/authenticate", outcome="succeed")
    assert isinstance(stripe.cancel(waiting.gateway_id, abandoned=True).outcome, Charged)


def test_a_browser_payment_waits_for_confirmation(stripe_simulator: StripeSimulator) -> None:
    stripe = gateway(stripe_simulator)
    waiting = stripe.charge(charge(None, "element"))
    assert isinstance(waiting, ActionRequired)
    assert waiting.client_secret.startswith(waiting.gateway_id)
    found = stripe.payment(waiting.gateway_id)
    assert found
    assert found.outcome == waiting
    assert stripe.cancel(waiting.gateway_id, abandoned=True).outcome == Canceled(
        waiting.gateway_id, declines.NOT_CONFIRMED
    )


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429},
        {"status": 429, "code": "lock_timeout"},
        {"status": 409},
        {"status": 500, "stored": False},
        {"status": 503, "stored": False},
    ],
    ids=str,
)
def test_transient_failures_are_retried(stripe_simulator: StripeSimulator, fault: Any) -> None:
    stripe_simulator.fault(match=CREATE, kind="error", times=2, **fault)
    order = charge()
    assert isinstance(gateway(stripe_simulator).charge(order), Charged)
    assert len(stripe_simulator.charges(order.transaction_id)) == 1


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"status": 429}, Refused("RateLimitError 429 rate_limit", transient=True)),
        ({"status": 401}, Refused("AuthenticationError 401", transient=True)),
        ({"status": 403}, Refused("PermissionError 403", transient=True)),
        ({"status": 409}, Unknown("APIError 409 idempotency_key_in_use")),
        ({"status": 429, "code": "lock_timeout"}, Refused("RateLimitError 429 lock_timeout", transient=True)),
        ({"status": 500}, Unknown("APIError 500")),
        ({"status": 500, "stored": False}, Unknown("APIError 500")),
    ],
)
def test_persistent_failures_have_their_outcome(
    stripe_simulator: StripeSimulator, fault: Any, outcome: Any
) -> None:
    quick = {"payment_gateway_read_timeout": 2.0, "payment_gateway_max_retries": 1}
    stripe, order = gateway(stripe_simulator, **quick), charge()
    paid = stripe.charge(charge())
    assert isinstance(paid, Charged)
    stripe_simulator.fault(match=CREATE, kind="error", times=0, **fault)
    stripe_simulator.fault(match=REFUND, kind="error", times=0, **fault)
    started = time.monotonic()
    assert stripe.charge(order) == outcome
    assert time.monotonic() - started < settings(**quick).gateway_time_budget + 1
    refund = RefundRequest(new_id("REF-"), paid.gateway_id, Decimal(1), "USD")
    assert stripe.refund(refund) == outcome
    assert not stripe_simulator.charges(order.transaction_id)


def test_a_stored_error_stays_unknown_although_the_charge_exists(
    private_stripe: StripeSimulator,
) -> None:
    stripe, order = gateway(private_stripe), charge()
    private_stripe.fault(match=CREATE, kind="error", status=500, after=True)
    for _ in range(2):
        assert stripe.charge(order) == Unknown("APIError 500"), "Stripe replays what it stored"
    (created,) = stripe.payments(recently())
    assert created.transaction_id == order.transaction_id
    assert isinstance(created.outcome, Charged)
    assert len(private_stripe.charges()) == 1


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "malformed"])
def test_a_lost_response_is_unknown(stripe_simulator: StripeSimulator, kind: str) -> None:
    stripe_simulator.fault(match=CREATE, kind=kind)
    outcome = gateway(stripe_simulator, payment_gateway_max_retries=0).charge(charge())
    assert isinstance(outcome, Unknown)


def test_an_unreachable_gateway_has_charged_nothing() -> None:
    stripe = make_gateway(settings(payment_gateway_url="http://127.0.0.1:1", payment_gateway_max_retries=0))
    assert stripe.charge(charge()) == Refused("NeverReached", transient=True)
    with pytest.raises(GatewayUnavailable):
        stripe.payment("pi_1")


def test_deployments_on_one_account_do_not_see_each_others_payments(private_stripe: StripeSimulator) -> None:
    created = {}
    for namespace in ("", "shop", "other"):
        order = charge()
        created[namespace] = order.transaction_id
        gateway(private_stripe, namespace=namespace).charge(order)
    for namespace in created:
        found = gateway(private_stripe, namespace=namespace).payments(recently())
        # A payment without a namespace may be older than namespaces. It is listed, but must agree with a
        # record.
        assert {payment.transaction_id: payment.namespace for payment in found} == {
            created[""]: "",
            created[namespace]: namespace,
        }


def test_payments_of_a_time_window_are_listed(private_stripe: StripeSimulator) -> None:
    stripe = gateway(private_stripe)
    first = stripe.charge(charge())
    private_stripe.control("clock", advance_seconds=3600)
    second = stripe.charge(charge())
    assert isinstance(first, Charged)
    assert isinstance(second, Charged)
    now = datetime.now(UTC)
    assert [created.outcome for created in stripe.payments(now - timedelta(minutes=1))] == [second, first]
    later = now + timedelta(minutes=30)
    assert [created.outcome for created in stripe.payments(later)] == [second]
    assert [created.outcome for created in stripe.payments(now - timedelta(minutes=1), later)] == [first]


def test_a_slow_refund_is_pending_until_it_completes(stripe_simulator: StripeSimulator) -> None:
    stripe = gateway(stripe_simulator)
    paid = stripe.charge(charge("pm_card_pendingRefund"))
    assert isinstance(paid, Charged)
    request = RefundRequest(new_id("REF-"), paid.gateway_id, Decimal(10), "USD")
    accepted = stripe.refund(request)
    assert isinstance(accepted, RefundPending)
    (listed,) = stripe.refunds(payment=paid.gateway_id)
    assert stripe.find_refund(accepted.gateway_id) == listed
    assert (listed.refund_id, listed.payment_gateway_id) == (request.refund_id, paid.gateway_id)
    assert (listed.amount, listed.currency, listed.outcome) == (Decimal(10), "USD", accepted)
    stripe_simulator.control(f"refunds/{accepted.gateway_id}/succeed")
    found = stripe.find_refund(accepted.gateway_id)
    assert found
    assert found.outcome == Refunded(accepted.gateway_id)
    stripe_simulator.control(f"refunds/{accepted.gateway_id}/fail")
    found = stripe.find_refund(accepted.gateway_id)
    assert found
    assert isinstance(found.outcome, RefundFailed)


def test_a_refund_rejected_by_stripe_fails(stripe_simulator: StripeSimulator) -> None:
    stripe = gateway(stripe_simulator)
    paid = stripe.charge(charge("pm_card_createDispute"))
    assert isinstance(paid, Charged)
    refused = stripe.refund(RefundRequest(new_id("REF-"), paid.gateway_id, Decimal(1), "USD"))
    assert refused == Refused("InvalidRequestError 400 charge_disputed")


def test_disputes_are_listed_with_their_current_state(private_stripe: StripeSimulator) -> None:
    stripe = gateway(private_stripe)
    paid = stripe.charge(charge("pm_card_createDispute"))
    assert isinstance(paid, Charged)
    (opened,) = stripe.disputes(recently())
    assert (opened.payment_gateway_id, opened.status, opened.reason) == (
        paid.gateway_id,
        "needs_response",
        "fraudulent",
    )
    assert (opened.amount, opened.currency) == (Decimal("25.50"), "USD")
    assert opened.evidence_due_by
    assert not list(stripe.disputes(datetime.now(UTC) + timedelta(minutes=1)))


def test_the_gateways_clock_is_read(private_stripe: StripeSimulator) -> None:
    assert abs(gateway(private_stripe).clock() - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_key_is_sealed_only_if_no_request_used_it(stripe_simulator: StripeSimulator) -> None:
    stripe = gateway(stripe_simulator)
    paid, lost = charge(), charge()
    assert isinstance(stripe.charge(paid), Charged)
    assert not stripe.seal(paid.transaction_id, paid.amount, paid.currency)
    assert stripe.seal(lost.transaction_id, lost.amount, lost.currency)
    assert stripe.seal(lost.transaction_id, lost.amount, lost.currency), "again, it is the same"
    # The request arrives after all.
    assert stripe.charge(lost) == Unknown("IdempotencyError 400")
    assert not stripe_simulator.charges(lost.transaction_id)


@pytest.mark.parametrize(("amount", "currency"), [("0.10", "USD"), ("25.50", "XTS")])
def test_a_seal_and_a_late_charge_with_an_invalid_amount_are_both_refused(
    stripe_simulator: StripeSimulator, amount: str, currency: str
) -> None:
    stripe = gateway(stripe_simulator)
    order = replace(charge(), amount=Decimal(amount), currency=currency)
    with pytest.raises(AmountRefused):
        stripe.seal(order.transaction_id, order.amount, order.currency)
    assert isinstance(stripe.charge(order), Refused)
    with pytest.raises(AmountRefused):
        stripe.seal(order.transaction_id, order.amount, order.currency)


def test_refund_keys_are_sealed_like_charge_keys(stripe_simulator: StripeSimulator) -> None:
    stripe = gateway(stripe_simulator)
    paid = stripe.charge(charge())
    assert isinstance(paid, Charged)
    created, lost = (RefundRequest(new_id("REF-"), paid.gateway_id, Decimal(5), "USD") for _ in range(2))
    assert isinstance(stripe.refund(created), Refunded)
    assert not stripe.seal(created.refund_id, Decimal("25.50"), "USD")
    assert stripe.seal(lost.refund_id, Decimal("25.50"), "USD")
    assert stripe.refund(lost) == Unknown("IdempotencyError 400")
    assert len(list(stripe.refunds(payment=paid.gateway_id))) == 1

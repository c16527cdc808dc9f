"""Stripe's objects in every status, read as outcomes and facts."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app import declines
from app.gateway import (
    ActionRequired,
    Canceled,
    Charged,
    Declined,
    GatewayDispute,
    GatewayPayment,
    GatewayRefund,
    PaymentOutcome,
    Refunded,
    RefundFailed,
    RefundPending,
    Unknown,
)
from app.gateway.stripe import reading

CREATED = 1_764_613_802
CREATED_AT = datetime(2025, 12, 1, 18, 30, 2, tzinfo=UTC)
CARD = {"brand": "visa", "last4": "4242", "fingerprint": "fp_charged"}
NO_FUNDS = {
    "code": "card_declined",
    "decline_code": "insufficient_funds",
    "payment_method": {"id": "pm_1", "card": {"fingerprint": "fp_declined"}},
}
ELEMENT = {"automatic_payment_methods": {"enabled": True, "allow_redirects": "always"}}


def intent(status: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "status": status,
        "client_secret": "pi_1_secret",
        "amount": 2550,
        "currency": "usd",
        "created": CREATED,
        "metadata": {},
        "last_payment_error": None,
        "latest_charge": None,
        "next_action": None,
        "automatic_payment_methods": None,
    } | fields


def charge(**details: Any) -> dict[str, Any]:
    return {"latest_charge": {"id": "ch_1", "payment_method_details": details}}


REDIRECT = {"next_action": {"type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.example"}}}
IN_BROWSER = {"next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {}}}

OUTCOMES: list[tuple[dict[str, Any], PaymentOutcome]] = [
    (intent("succeeded", **charge(card=CARD)), Charged("pi_1", "visa", "4242")),
    (intent("succeeded", **charge(paypal={"payer_id": "x"})), Charged("pi_1")),
    (intent("succeeded", **charge(card=None)), Charged("pi_1")),
    (intent("succeeded", latest_charge="ch_1"), Charged("pi_1")),
    (intent("succeeded"), Charged("pi_1")),
    (intent("requires_action"), ActionRequired("pi_1", "pi_1_secret")),
    (intent("requires_action", **IN_BROWSER), ActionRequired("pi_1", "pi_1_secret")),
    (intent("requires_action", **REDIRECT), ActionRequired("pi_1", "pi_1_secret", "https://bank.example")),
    (intent("requires_action", client_secret=None), ActionRequired("pi_1", "")),
    (intent("requires_action", **ELEMENT), ActionRequired("pi_1", "pi_1_secret")),
    (intent("requires_payment_method"), Declined(declines.NOT_CONFIRMED, "pi_1")),
    (
        intent("requires_payment_method", last_payment_error=NO_FUNDS),
        Declined(declines.FUNDS, "pi_1", "fp_declined", "pi_1/pm_1"),
    ),
    (
        intent(
            "requires_payment_method",
            last_payment_error={
                "code": "payment_method_customer_decline",
                "payment_method": {"type": "paypal"},
            },
        ),
        Declined(declines.CUSTOMER_CANCELED, "pi_1"),
    ),
    (intent("requires_payment_method", **ELEMENT), ActionRequired("pi_1", "pi_1_secret")),
    (
        intent("requires_payment_method", last_payment_error=NO_FUNDS, **ELEMENT),
        ActionRequired("pi_1", "pi_1_secret"),
    ),
    (intent("requires_confirmation", **ELEMENT), ActionRequired("pi_1", "pi_1_secret")),
    (
        intent("requires_payment_method", automatic_payment_methods={"enabled": False}),
        Declined(declines.NOT_CONFIRMED, "pi_1"),
    ),
    (intent("requires_confirmation"), Unknown("payment intent is requires_confirmation", "pi_1")),
    (intent("canceled"), Canceled("pi_1", declines.NOT_CONFIRMED)),
    (intent("canceled", last_payment_error=NO_FUNDS), Canceled("pi_1", declines.FUNDS)),
    (intent("canceled", **ELEMENT), Canceled("pi_1", declines.NOT_CONFIRMED)),
    (intent("canceled", cancellation_reason="abandoned"), Canceled("pi_1", declines.NOT_CONFIRMED)),
    (
        intent("canceled", cancellation_reason="requested_by_customer"),
        Canceled("pi_1", declines.NOT_CONFIRMED, requested=True),
    ),
    (intent("processing"), Unknown("payment intent is processing", "pi_1")),
    (intent("processing", **ELEMENT), Unknown("payment intent is processing", "pi_1")),
    (intent("requires_capture"), Unknown("payment intent is requires_capture", "pi_1")),
    (intent("status_of_next_year"), Unknown("payment intent is status_of_next_year", "pi_1")),
]


@pytest.mark.parametrize(("given", "outcome"), OUTCOMES, ids=lambda given: str(given)[:60])
def test_payment_intents_are_read_in_every_status(given: dict[str, Any], outcome: PaymentOutcome) -> None:
    assert reading.payment_outcome(given) == outcome


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"status": "succeeded"}, Refunded("re_1")),
        ({"status": "pending"}, RefundPending("re_1", "refund is pending")),
        (
            {"status": "pending", "pending_reason": "insufficient_funds"},
            RefundPending("re_1", "insufficient_funds"),
        ),
        ({"status": "requires_action"}, RefundPending("re_1", "refund is requires_action")),
        ({"status": "status_of_next_year"}, RefundPending("re_1", "refund is status_of_next_year")),
        ({"status": None}, RefundPending("re_1", "refund is None")),
        ({"status": "failed"}, RefundFailed("re_1", "refund is failed")),
        (
            {"status": "failed", "failure_reason": "expired_or_canceled_card"},
            RefundFailed("re_1", "expired_or_canceled_card"),
        ),
        ({"status": "canceled"}, RefundFailed("re_1", "refund is canceled")),
    ],
    ids=str,
)
def test_refunds_are_read_in_every_status(fields: dict[str, Any], outcome: Any) -> None:
    assert reading.refund_outcome({"id": "re_1"} | fields) == outcome


def test_our_metadata_is_read() -> None:
    metadata = {"namespace": "shop", "transaction_id": "TXN-1", "booking_id": "BOOK-1", "user_id": "u"}
    given = intent("succeeded", metadata=metadata, **charge(card=CARD))
    assert reading.payment(given) == GatewayPayment(
        gateway_id="pi_1",
        namespace="shop",
        transaction_id="TXN-1",
        booking_id="BOOK-1",
        user_id="u",
        amount=Decimal("25.50"),
        currency="USD",
        created_at=CREATED_AT,
        outcome=Charged("pi_1", "visa", "4242"),
    )


@pytest.mark.parametrize("metadata", [{}, None])
def test_a_payment_of_another_application_has_no_ids_of_ours(metadata: Any) -> None:
    found = reading.payment(intent("canceled", metadata=metadata, currency="jpy"))
    assert (found.namespace, found.transaction_id, found.booking_id, found.user_id) == ("", None, None, None)
    assert (found.amount, found.currency) == (Decimal(2550), "JPY")


@pytest.mark.parametrize("status", ["canceled", "requires_payment_method"])
@pytest.mark.parametrize("method", [{}, ELEMENT], ids=["card", "element"])
def test_a_payment_shows_the_attempt_that_was_declined_last(status: str, method: dict[str, Any]) -> None:
    error = NO_FUNDS | {"charge": "ch_1"}
    found = reading.payment(intent(status, last_payment_error=error, **method))
    assert found.declined == Declined(declines.FUNDS, "pi_1", "fp_declined", "ch_1")


def test_an_attempt_without_a_charge_is_known_by_its_payment_method() -> None:
    error = {"code": "payment_intent_authentication_failure", "payment_method": {"id": "pm_1"}}
    found = reading.payment(intent("requires_payment_method", last_payment_error=error))
    assert found.declined == Declined(declines.AUTHENTICATION, "pi_1", None, "pi_1/pm_1")


def test_a_refund_is_read() -> None:
    given = {
        "id": "re_1",
        "status": "succeeded",
        "amount": 1000,
        "currency": "usd",
        "created": CREATED,
        "payment_intent": "pi_1",
        "metadata": {"refund_transaction_id": "REF-1"},
    }
    created = GatewayRefund(
        "re_1", "REF-1", "pi_1", Decimal("10.00"), "USD", CREATED_AT, outcome=Refunded("re_1")
    )
    assert reading.refund(given) == created
    assert reading.refund(given | {"payment_intent": {"id": "pi_1"}}) == created
    elsewhere = reading.refund(given | {"metadata": {}, "payment_intent": None})
    assert (elsewhere.refund_id, elsewhere.payment_gateway_id) == (None, None)


@pytest.mark.parametrize(
    "status",
    [
        "warning_needs_response",
        "warning_under_review",
        "warning_closed",
        "needs_response",
        "under_review",
        "won",
        "lost",
    ],
)
def test_disputes_are_read_in_every_status(status: str) -> None:
    given = {
        "id": "dp_1",
        "status": status,
        "amount": 5000,
        "currency": "usd",
        "created": CREATED,
        "payment_intent": "pi_1",
        "reason": "fraudulent",
        "evidence_details": {"due_by": CREATED},
    }
    found = GatewayDispute(
        "dp_1", "pi_1", status, Decimal("50.00"), "USD", "fraudulent", CREATED_AT, CREATED_AT
    )
    assert reading.dispute(given) == found
    for details in (None, {}, {"due_by": None}):
        assert reading.dispute(given | {"evidence_details": details}).evidence_due_by is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": "expired_card"}, Declined(declines.EXPIRED)),
        (
            {"code": "expired_card", "payment_method": {"card": {"fingerprint": "fp_1"}}},
            Declined(declines.EXPIRED, None, "fp_1"),
        ),
        (
            {
                "code": "card_declined",
                "decline_code": "insufficient_funds",
                "payment_intent": intent("requires_payment_method", last_payment_error=NO_FUNDS),
            },
            Declined(declines.FUNDS, "pi_1", "fp_declined"),
        ),
        (
            {"code": "expired_card", "payment_method": {"type": "paypal"}, "payment_intent": None},
            Declined(declines.EXPIRED),
        ),
    ],
    ids=str,
)
def test_the_decline_of_an_error_is_read(error: dict[str, Any], expected: Declined) -> None:
    assert reading.declined(error) == expected

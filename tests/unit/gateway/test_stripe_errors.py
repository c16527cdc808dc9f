"""The meaning of each Stripe failure for the request."""

from decimal import Decimal
from typing import Any

import pytest
import stripe

from app import declines
from app.gateway import Charge, Declined, PaymentOutcome, RefundOutcome, RefundRequest, Refused, Unknown
from app.gateway.stripe.client import StripeApi
from app.gateway.stripe.errors import NeverReached
from app.gateway.stripe.gateway import StripeGateway
from tests.support.fake_stripe import FakeTransport, error, lost, settings

CHARGE = Charge("TXN-1", Decimal("25.50"), "USD", "BOOK-1", "user_1", "pm_card_visa", "card")
REFUND = RefundRequest("REF-1", "pi_1", Decimal("25.50"), "USD")

NEVER_REACHED = NeverReached("refused", should_retry=True)
CERTIFICATE = stripe.APIConnectionError("certificate", should_retry=False)


def gateway(*responses: Any) -> StripeGateway:
    ours = settings(payment_gateway_max_retries=0)
    return StripeGateway(ours, StripeApi(ours, FakeTransport(*responses)))


METHOD = {"id": "pm_1", "card": {"fingerprint": "f"}}

PROCESSING = {"object": "payment_intent", "id": "pi_1", "status": "processing"}

#: Response or failure of the request → outcome of the charge.
CHARGES: list[tuple[Any, PaymentOutcome]] = [
    # Certainly not carried out, but the same request may succeed later.
    (NEVER_REACHED, Refused("NeverReached", transient=True)),
    (error(429), Refused("RateLimitError 429", transient=True)),
    (error(429, "rate_limit"), Refused("RateLimitError 429 rate_limit", transient=True)),
    (error(400, "rate_limit"), Refused("RateLimitError 400 rate_limit", transient=True)),
    (error(429, "lock_timeout"), Refused("RateLimitError 429 lock_timeout", transient=True)),
    (error(409, "lock_timeout"), Refused("APIError 409 lock_timeout", transient=True)),
    (error(400, "lock_timeout"), Refused("InvalidRequestError 400 lock_timeout", transient=True)),
    (error(401), Refused("AuthenticationError 401", transient=True)),
    (error(401, "api_key_expired"), Refused("AuthenticationError 401 api_key_expired", transient=True)),
    (error(403), Refused("PermissionError 403", transient=True)),
    # Certainly not carried out, now or later.
    (error(400), Refused("InvalidRequestError 400")),
    (error(400, "parameter_missing"), Refused("InvalidRequestError 400 parameter_missing")),
    (error(400, "resource_missing", param="payment_method"), Declined(declines.DETAILS)),
    (error(404, "resource_missing"), Refused("InvalidRequestError 404 resource_missing")),
    (
        error(400, "amount_too_small"),
        Refused("InvalidRequestError 400 amount_too_small", bad_amount=True),
    ),
    (
        error(400, "amount_too_large"),
        Refused("InvalidRequestError 400 amount_too_large", bad_amount=True),
    ),
    (
        error(400, "invalid_charge_amount"),
        Refused("InvalidRequestError 400 invalid_charge_amount", bad_amount=True),
    ),
    # Declined.
    (error(402, "card_declined", decline_code="insufficient_funds"), Declined(declines.FUNDS)),
    (
        error(
            402, "expired_card", payment_intent={"id": "pi_1"}, payment_method={"card": {"fingerprint": "f"}}
        ),
        Declined(declines.EXPIRED, "pi_1", "f"),
    ),
    # Perhaps carried out.
    (lost(), Unknown("APIConnectionError")),
    (CERTIFICATE, Unknown("APIConnectionError")),
    (error(409, "idempotency_key_in_use"), Unknown("APIError 409 idempotency_key_in_use")),
    (error(409), Unknown("APIError 409")),
    (error(400, type="idempotency_error"), Unknown("IdempotencyError 400")),
    (error(424), Unknown("APIError 424")),
    (error(500), Unknown("APIError 500")),
    (error(500, payment_intent={"id": "pi_1", "status": "succeeded"}), Unknown("APIError 500", "pi_1")),
    (error(502), Unknown("APIError 502")),
    (error(503), Unknown("APIError 503")),
    ((200, b"<html>", {}), Unknown("APIError 200")),
    ((200, b"", {}), Unknown("APIError 200")),
    ((302, b"", {}), Unknown("APIError 302")),
    ((404, b"<html>", {}), Unknown("APIError 404")),
    ((500, {"error": "text"}, {}), Unknown("APIError")),
    ((502, ["text"], {}), Unknown("APIError 502")),
    ((200, ["text"], {}), Unknown("APIError 200")),
    ((200, {}, {}), Unknown("APIError 200")),
    ((400, {"message": "of a proxy"}, {}), Unknown("APIError 400")),
    (
        (200, {"object": "payment_intent", "id": "pi_1", "status": "processing"}, {}),
        Unknown("payment intent is processing", "pi_1"),
    ),
]


@pytest.mark.parametrize(("response", "outcome"), CHARGES, ids=lambda given: str(given)[:70])
def test_each_charge_error_has_its_outcome(response: Any, outcome: PaymentOutcome) -> None:
    assert gateway(response).charge(CHARGE) == outcome


REFUNDS: list[tuple[Any, RefundOutcome]] = [
    (NEVER_REACHED, Refused("NeverReached", transient=True)),
    (error(429, "lock_timeout"), Refused("RateLimitError 429 lock_timeout", transient=True)),
    (error(401), Refused("AuthenticationError 401", transient=True)),
    (error(403), Refused("PermissionError 403", transient=True)),
    (error(400, "charge_already_refunded"), Refused("InvalidRequestError 400 charge_already_refunded")),
    (error(400, "charge_disputed"), Refused("InvalidRequestError 400 charge_disputed")),
    (error(402, "card_declined"), Refused("CardError 402 card_declined")),
    (error(500), Unknown("APIError 500")),
    (error(409, "idempotency_key_in_use"), Unknown("APIError 409 idempotency_key_in_use")),
    (lost(), Unknown("APIConnectionError")),
]


@pytest.mark.parametrize(("response", "outcome"), REFUNDS, ids=lambda given: str(given)[:70])
def test_each_refund_error_has_its_outcome(response: Any, outcome: RefundOutcome) -> None:
    assert gateway(response).refund(REFUND) == outcome

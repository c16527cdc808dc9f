"""Stripe's objects and errors, read as outcomes."""

from __future__ import annotations

from typing import Any

import stripe

from app.declines import NOT_CONFIRMED, decline_for
from app.gateway.outcomes import (
    ActionRequired,
    Charged,
    Declined,
    PaymentOutcome,
    Refunded,
    RefundOutcome,
    Refused,
    Unknown,
)

#: Answers that say that this try did nothing; an earlier one may have.
NOT_DONE = (
    stripe.AuthenticationError,
    stripe.PermissionError,
    stripe.RateLimitError,
    stripe.APIConnectionError,
)


def metadata(subject: Any, name: str) -> Any:
    """A value of the metadata that a Stripe object carries, None without it."""
    # The SDK's objects are read like dicts, but have no get.
    return subject.metadata[name] if subject.metadata and name in subject.metadata else None


def reason(error: stripe.StripeError) -> str:
    """What went wrong, in a few words that hold no data of the request."""
    return f"{type(error).__name__} {error.http_status or ''} {error.code or ''}".strip()


def decline_of(error: Any, code: str | None) -> Declined:
    """A bank's refusal, from the error of a call or of a PaymentIntent."""
    intent = getattr(error, "payment_intent", None)
    row = decline_for(getattr(error, "decline_code", None), code, getattr(error, "advice_code", None))
    return Declined(row, getattr(intent, "id", None))


def payment_outcome(intent: stripe.PaymentIntent) -> PaymentOutcome:
    """https://docs.stripe.com/payments/paymentintents/lifecycle"""
    match intent.status:
        case "succeeded":
            return Charged(intent.id, *_card_of(intent))
        case "requires_action":
            redirect = intent.next_action and getattr(intent.next_action, "redirect_to_url", None)
            return ActionRequired(intent.id, intent.client_secret or "", redirect.url if redirect else None)
        case "requires_payment_method" | "canceled":
            error = intent.last_payment_error
            if error is None:
                return Declined(NOT_CONFIRMED, intent.id)
            return Declined(decline_of(error, error.code).decline, intent.id)
        case status:
            return Unknown(f"payment intent is {status}", intent.id)


def refund_outcome(refund: stripe.Refund) -> RefundOutcome:
    """https://docs.stripe.com/api/refunds/object#refund_object-status"""
    match refund.status:
        case "failed" | "canceled":
            return Refused(f"refund {refund.status}")
        case "succeeded":
            return Refunded(refund.id)
        case status:
            return Unknown(f"refund is {status}", refund.id)


def _card_of(intent: stripe.PaymentIntent) -> tuple[str | None, str | None]:
    charge = intent.latest_charge
    details = charge.payment_method_details if isinstance(charge, stripe.Charge) else None
    card = getattr(details, "card", None)
    return (card.brand, card.last4) if card else (None, None)

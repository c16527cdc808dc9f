"""Stripe's objects and errors, read as outcomes."""

from __future__ import annotations

from collections.abc import Mapping
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

#: One of Stripe's objects as it came, parsed and no more.
Answer = Mapping[str, Any]

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


def decline_of(error: Answer) -> Declined:
    """A bank's refusal, from the error of a call or of a PaymentIntent."""
    row = decline_for(error.get("decline_code"), error.get("code"), error.get("advice_code"))
    intent = error.get("payment_intent")
    return Declined(row, intent["id"] if intent else None)


def payment_outcome(intent: Answer) -> PaymentOutcome:
    """https://docs.stripe.com/payments/paymentintents/lifecycle"""
    intent_id = intent["id"]
    match intent["status"]:
        case "succeeded":
            return Charged(intent_id, *_card_of(intent))
        case "requires_action":
            redirect = (intent.get("next_action") or {}).get("redirect_to_url")
            return ActionRequired(
                intent_id, intent.get("client_secret") or "", redirect["url"] if redirect else None
            )
        case "requires_payment_method" | "canceled":
            error = intent.get("last_payment_error")
            return Declined(decline_of(error).decline if error else NOT_CONFIRMED, intent_id)
        case status:
            return Unknown(f"payment intent is {status}", intent_id)


def refund_outcome(refund: Answer | stripe.Refund) -> RefundOutcome:
    """https://docs.stripe.com/api/refunds/object#refund_object-status"""
    match refund["status"]:
        case "failed" | "canceled":
            return Refused(f"refund {refund['status']}")
        case "succeeded":
            return Refunded(refund["id"])
        case status:
            return Unknown(f"refund is {status}", refund["id"])


def _card_of(intent: Answer) -> tuple[str | None, str | None]:
    charge = intent.get("latest_charge")
    # Just its id, if it was not asked for whole.
    details = charge.get("payment_method_details") if isinstance(charge, dict) else None
    card = details.get("card") if details else None
    return (card.get("brand"), card.get("last4")) if card else (None, None)

"""Convert Stripe's JSON objects to outcomes and facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.declines import NOT_CONFIRMED
from app.gateway.facts import GatewayDispute, GatewayPayment, GatewayRefund
from app.gateway.outcomes import (
    ActionRequired,
    Canceled,
    Charged,
    Declined,
    PaymentOutcome,
    Refunded,
    RefundFailed,
    RefundPending,
    Unknown,
)
from app.gateway.stripe.currencies import from_minor
from app.gateway.stripe.declines import decline_for

#: One of Stripe's objects.
StripeObject = Mapping[str, Any]

#: Metadata keys of the objects that we create at Stripe. A caller's metadata may not use them.
NAMESPACE = "namespace"
TRANSACTION_ID = "transaction_id"
#: On the PaymentIntent that uses up the key of a request which was never carried out.
SEALED_KEY = "sealed_key"
BOOKING_ID = "booking_id"
USER_ID = "user_id"
REFUND_ID = "refund_transaction_id"
RESERVED_METADATA = frozenset({NAMESPACE, TRANSACTION_ID, BOOKING_ID, USER_ID, REFUND_ID})

#: Stripe's reasons for a cancellation: someone requested it, or the customer took too long.
REQUESTED = "requested_by_customer"
ABANDONED = "abandoned"


def payment_outcome(intent: StripeObject) -> PaymentOutcome:
    """Read the status of a PaymentIntent: https://docs.stripe.com/payments/paymentintents/lifecycle"""
    intent_id = intent["id"]
    match intent["status"]:
        case "succeeded":
            card = _charged_card(intent)
            return Charged(intent_id, card.get("brand"), card.get("last4"))
        case "requires_action":
            redirect = (intent.get("next_action") or {}).get("redirect_to_url") or {}
            return ActionRequired(intent_id, intent.get("client_secret") or "", redirect.get("url"))
        case "requires_payment_method" | "requires_confirmation" if _is_confirmed_in_browser(intent):
            return ActionRequired(intent_id, intent.get("client_secret") or "")
        case "requires_payment_method":
            return last_declined(intent) or Declined(NOT_CONFIRMED, intent_id)
        case "canceled":
            last = last_declined(intent)
            requested = intent.get("cancellation_reason") == REQUESTED
            return Canceled(intent_id, last.decline if last else NOT_CONFIRMED, requested)
        case status:
            return Unknown(f"payment intent is {status}", intent_id)


def refund_outcome(refund: StripeObject) -> Refunded | RefundPending | RefundFailed:
    """Read the status of a Refund: https://docs.stripe.com/api/refunds/object#refund_object-status"""
    refund_id, status = refund["id"], refund["status"]
    match status:
        case "succeeded":
            return Refunded(refund_id)
        case "failed" | "canceled":
            return RefundFailed(refund_id, refund.get("failure_reason") or f"refund is {status}")
        case _:
            return RefundPending(refund_id, refund.get("pending_reason") or f"refund is {status}")


def declined(error: StripeObject) -> Declined:
    """Read a decline from the error of a call."""
    intent = error.get("payment_intent")
    intent = intent if isinstance(intent, Mapping) else {}
    read = _declined(error, intent.get("id"))
    last = last_declined(intent)
    return (
        replace(read, card_fingerprint=last.card_fingerprint) if last and not read.card_fingerprint else read
    )


def last_declined(intent: StripeObject) -> Declined | None:
    """Return the last attempt to pay a PaymentIntent, if it was declined."""
    error = intent.get("last_payment_error")
    return _declined(error, intent["id"]) if error else None


def payment(intent: StripeObject) -> GatewayPayment:
    """Read a PaymentIntent."""
    metadata = intent.get("metadata") or {}
    return GatewayPayment(
        gateway_id=intent["id"],
        namespace=metadata.get(NAMESPACE, ""),
        transaction_id=metadata.get(TRANSACTION_ID),
        booking_id=metadata.get(BOOKING_ID),
        user_id=metadata.get(USER_ID),
        amount=from_minor(intent["amount"], intent["currency"]),
        currency=intent["currency"].upper(),
        created_at=_time(intent["created"]),
        outcome=payment_outcome(intent),
        declined=last_declined(intent),
    )


def refund(stripe_refund: StripeObject) -> GatewayRefund:
    """Read a Refund."""
    return GatewayRefund(
        gateway_id=stripe_refund["id"],
        refund_id=(stripe_refund.get("metadata") or {}).get(REFUND_ID),
        payment_gateway_id=object_id(stripe_refund.get("payment_intent")),
        amount=from_minor(stripe_refund["amount"], stripe_refund["currency"]),
        currency=stripe_refund["currency"].upper(),
        created_at=_time(stripe_refund["created"]),
        outcome=refund_outcome(stripe_refund),
    )


def dispute(opened: StripeObject) -> GatewayDispute:
    """Read a Dispute: https://docs.stripe.com/api/disputes/object"""
    due_by = (opened.get("evidence_details") or {}).get("due_by")
    return GatewayDispute(
        gateway_id=opened["id"],
        payment_gateway_id=object_id(opened.get("payment_intent")),
        status=opened["status"],
        amount=from_minor(opened["amount"], opened["currency"]) if "amount" in opened else None,
        currency=(opened.get("currency") or "").upper(),
        reason=opened.get("reason"),
        evidence_due_by=_time(due_by) if due_by else None,
        created_at=_time(opened.get("created", 0)),
    )


def object_id(reference: Any) -> str | None:
    """Return the id from a field that has either an id or an expanded object."""
    found: str | None = reference["id"] if isinstance(reference, Mapping) else reference
    return found


def _time(timestamp: int) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


def _is_confirmed_in_browser(intent: StripeObject) -> bool:
    return bool((intent.get("automatic_payment_methods") or {}).get("enabled"))


def _declined(error: StripeObject, intent_id: str | None) -> Declined:
    method = error.get("payment_method")
    attempt_id = object_id(error.get("charge"))
    if attempt_id is None and intent_id and isinstance(method, Mapping) and "id" in method:
        # An attempt that fails at 3-D Secure makes no charge.
        attempt_id = f"{intent_id}/{method['id']}"
    return Declined(decline_for(error), intent_id, _fingerprint(method), attempt_id)


def _fingerprint(payment_method: Any) -> str | None:
    card = payment_method.get("card") if isinstance(payment_method, Mapping) else None
    return card.get("fingerprint") if card else None


def _charged_card(intent: StripeObject) -> StripeObject:
    """Return the charged card; empty for another method, or if `latest_charge` is not expanded."""
    charge = intent.get("latest_charge")
    details = charge.get("payment_method_details") if isinstance(charge, Mapping) else None
    return (details or {}).get("card") or {}

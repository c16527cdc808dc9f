"""Convert Stripe's webhook events to `app.gateway.events`: https://docs.stripe.com/api/events/types"""

from __future__ import annotations

from collections.abc import Callable

from app.gateway.events import (
    DisputeChanged,
    FraudWarned,
    GatewayChange,
    PaymentChanged,
    RefundChanged,
)
from app.gateway.stripe.reading import (
    NAMESPACE,
    TRANSACTION_ID,
    StripeObject,
    dispute,
    last_declined,
    object_id,
)


def _payment(intent: StripeObject) -> PaymentChanged:
    metadata = intent.get("metadata")
    namespace = None if metadata is None else metadata.get(NAMESPACE, "")
    return PaymentChanged(
        intent["id"], (metadata or {}).get(TRANSACTION_ID), namespace, last_declined(intent)
    )


def _refunds_of_charge(charge: StripeObject) -> RefundChanged:
    # Newer API versions do not include the refunds in the charge.
    return RefundChanged(object_id(charge.get("payment_intent")), None)


def _refund(refund: StripeObject) -> RefundChanged:
    return RefundChanged(object_id(refund.get("payment_intent")), refund["id"])


def _dispute(opened: StripeObject) -> DisputeChanged:
    return DisputeChanged(dispute(opened))


def _fraud_warning(warning: StripeObject) -> FraudWarned:
    return FraudWarned(object_id(warning.get("payment_intent")), warning.get("fraud_type"))


#: Event type → how to read the object that the event is about.
_READERS: dict[str, Callable[[StripeObject], GatewayChange]] = {
    "payment_intent.succeeded": _payment,
    "payment_intent.payment_failed": _payment,
    "payment_intent.canceled": _payment,
    "payment_intent.processing": _payment,
    "payment_intent.requires_action": _payment,
    "charge.refunded": _refunds_of_charge,
    "charge.refund.updated": _refund,
    "refund.created": _refund,
    "refund.updated": _refund,
    "refund.failed": _refund,
    "charge.dispute.created": _dispute,
    "charge.dispute.updated": _dispute,
    "charge.dispute.funds_withdrawn": _dispute,
    "charge.dispute.funds_reinstated": _dispute,
    "charge.dispute.closed": _dispute,
    "radar.early_fraud_warning.created": _fraud_warning,
}

#: Event types that are handled.
HANDLED_EVENTS = frozenset(_READERS)


def change_of(event_type: str, subject: StripeObject) -> GatewayChange | None:
    """Convert an event's object; None for an unhandled type.

    Raises:
        KeyError, TypeError, AttributeError: the object does not match the type.
    """
    reader = _READERS.get(event_type)
    return reader(subject) if reader else None

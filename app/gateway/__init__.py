"""The payment gateway: Stripe, or a server that speaks like it. The only package that imports `stripe`."""

from app.gateway.declines import Decline
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
from app.gateway.stripe_gateway import KEY_REMEMBERED, Charge, StripeGateway
from app.gateway.webhook_events import BadSignature, WebhookEvent, verify

__all__ = [
    "KEY_REMEMBERED",
    "ActionRequired",
    "BadSignature",
    "Charge",
    "Charged",
    "Decline",
    "Declined",
    "PaymentOutcome",
    "RefundOutcome",
    "Refunded",
    "Refused",
    "StripeGateway",
    "Unknown",
    "WebhookEvent",
    "verify",
]

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
from app.gateway.stripe_gateway import Charge, StripeGateway

__all__ = [
    "ActionRequired",
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
]

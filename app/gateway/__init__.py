"""The payment gateway: Stripe, or a server that speaks like it. The only package that imports `stripe`."""

from app.gateway.orders import CardDetails, Charge
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
from app.gateway.statement import GatewayPayment, GatewayRefund
from app.gateway.stripe_gateway import KEY_REMEMBERED, StripeGateway
from app.gateway.webhook_events import BadSignature, WebhookEvent, verify

__all__ = [
    "KEY_REMEMBERED",
    "ActionRequired",
    "BadSignature",
    "CardDetails",
    "Charge",
    "Charged",
    "Declined",
    "GatewayPayment",
    "GatewayRefund",
    "PaymentOutcome",
    "RefundOutcome",
    "Refunded",
    "Refused",
    "StripeGateway",
    "Unknown",
    "WebhookEvent",
    "verify",
]

"""The interface of payment gateways. Each gateway is a subpackage."""

from app.gateway.events import (
    BadWebhook,
    DisputeChanged,
    FraudWarned,
    GatewayChange,
    GatewayEvent,
    PaymentChanged,
    RefundChanged,
)
from app.gateway.factory import HANDLED_EVENTS, dashboard_url, make_gateway
from app.gateway.facts import GatewayDispute, GatewayPayment, GatewayRefund
from app.gateway.gateway import KEY_MEMORY, AmountRefused, Gateway, GatewayUnavailable, Share
from app.gateway.orders import CardDetails, Charge, ChargeKind, RefundRequest
from app.gateway.outcomes import (
    ActionRequired,
    Canceled,
    Charged,
    Declined,
    PaymentOutcome,
    Refunded,
    RefundFailed,
    RefundOutcome,
    RefundPending,
    Refused,
    Unknown,
)

__all__ = [
    "HANDLED_EVENTS",
    "KEY_MEMORY",
    "ActionRequired",
    "AmountRefused",
    "BadWebhook",
    "Canceled",
    "CardDetails",
    "Charge",
    "ChargeKind",
    "Charged",
    "Declined",
    "DisputeChanged",
    "FraudWarned",
    "Gateway",
    "GatewayChange",
    "GatewayDispute",
    "GatewayEvent",
    "GatewayPayment",
    "GatewayRefund",
    "GatewayUnavailable",
    "PaymentChanged",
    "PaymentOutcome",
    "RefundChanged",
    "RefundFailed",
    "RefundOutcome",
    "RefundPending",
    "RefundRequest",
    "Refunded",
    "Refused",
    "Share",
    "Unknown",
    "dashboard_url",
    "make_gateway",
]

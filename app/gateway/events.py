"""Gateway-independent webhook events. Each names what to look up; disputes are complete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.gateway.facts import GatewayDispute
from app.gateway.outcomes import Declined


class BadWebhook(Exception):
    """A delivery that the gateway did not sign within the tolerance, or that is not an event."""


@dataclass(frozen=True)
class PaymentChanged:
    """A payment changed.

    Attributes:
        transaction_id: our id in the payment's metadata, or None.
        namespace: the deployment that created it; empty without one, None if the event does not say.
        declined: the last attempt when the event was created, if it was declined.
    """

    payment_gateway_id: str
    transaction_id: str | None
    namespace: str | None
    declined: Declined | None = None


@dataclass(frozen=True)
class RefundChanged:
    """A refund was created, succeeded, or failed. At least one of the two ids is known.

    Attributes:
        payment_gateway_id: the gateway's id of the refunded payment.
        refund_gateway_id: None where the event is about the payment's refunds as a whole.
    """

    payment_gateway_id: str | None
    refund_gateway_id: str | None


@dataclass(frozen=True)
class DisputeChanged:
    """A dispute was opened, changed or closed.

    Attributes:
        dispute: its state when the event was created.
    """

    dispute: GatewayDispute


@dataclass(frozen=True)
class FraudWarned:
    """A card network expects that a charge will be disputed as fraud.

    Attributes:
        reason: the network's type of fraud, in the gateway's term.
    """

    payment_gateway_id: str | None
    reason: str | None


GatewayChange = PaymentChanged | RefundChanged | DisputeChanged | FraudWarned


@dataclass(frozen=True)
class GatewayEvent:
    """A verified webhook delivery.

    Attributes:
        id: the gateway's id; the same in every repeated delivery.
        type: the gateway's event type, for metrics and logs.
        live: whether it is from live mode.
        created: UTC.
        change: the change to handle; None for an unhandled type.
    """

    id: str
    type: str
    live: bool
    created: datetime
    change: GatewayChange | None

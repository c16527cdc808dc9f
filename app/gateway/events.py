"""The gateway's webhooks, in this program's words. Each says what to look up, and disputes what they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.gateway.facts import GatewayDispute


class BadWebhook(Exception):
    """A delivery that the gateway did not sign within the tolerance, or that is not an event."""


@dataclass(frozen=True)
class PaymentChanged:
    """A payment is not what it was.

    Attributes:
        transaction_id: ours, as the payment carries it; None if it carries none.
        namespace: the deployment that made it, empty without a mark; None if the event does not say.
    """

    payment_gateway_id: str
    transaction_id: str | None
    namespace: str | None


@dataclass(frozen=True)
class RefundChanged:
    """A refund was made, succeeded or failed. At least one of the two ids is known.

    Attributes:
        payment_gateway_id: of the refunded payment.
        refund_gateway_id: None where the event is about the payment's refunds as a whole.
    """

    payment_gateway_id: str | None
    refund_gateway_id: str | None


@dataclass(frozen=True)
class DisputeChanged:
    """A dispute was opened, changed or closed.

    Attributes:
        dispute: as it stood when the event was made.
    """

    dispute: GatewayDispute


@dataclass(frozen=True)
class FraudWarned:
    """A card network expects that a charge will be disputed as fraud.

    Attributes:
        reason: the network's type of fraud, in the gateway's word.
    """

    payment_gateway_id: str | None
    reason: str | None


GatewayChange = PaymentChanged | RefundChanged | DisputeChanged | FraudWarned


@dataclass(frozen=True)
class GatewayEvent:
    """A verified webhook delivery.

    Attributes:
        id: the gateway's; the same in every repetition of the delivery.
        type: the gateway's name of it, for metrics and logs.
        live: whether it is about real money.
        created: UTC.
        change: what to act on; None for a type that this program does not handle.
    """

    id: str
    type: str
    live: bool
    created: datetime
    change: GatewayChange | None

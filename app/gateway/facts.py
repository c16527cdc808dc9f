"""Objects in the gateway's records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from app.gateway.outcomes import Declined, PaymentOutcome, Refunded, RefundFailed, RefundPending


@dataclass(frozen=True)
class GatewayPayment:
    """A payment at the gateway, whoever created it.

    Attributes:
        namespace: the deployment that created it; empty without one.
        transaction_id: our id (`TXN-…`); None for a payment made elsewhere.
        amount: in major units of `currency`.
        created_at: UTC, by the gateway's clock.
        outcome: its current state.
        declined: the last attempt, if it was declined; the customer may be allowed another.
    """

    gateway_id: str
    namespace: str
    transaction_id: str | None
    booking_id: str | None
    user_id: str | None
    amount: Decimal
    currency: str
    created_at: datetime
    outcome: PaymentOutcome
    declined: Declined | None = None


@dataclass(frozen=True)
class GatewayRefund:
    """A refund at the gateway, whoever created it.

    Attributes:
        refund_id: our id (`REF-…`); None for a refund made elsewhere, for example in the gateway's dashboard.
        payment_gateway_id: the gateway's id of the refunded payment.
        amount: in major units of `currency`.
        created_at: UTC, by the gateway's clock.
        outcome: its current state.
    """

    gateway_id: str
    refund_id: str | None
    payment_gateway_id: str | None
    amount: Decimal
    currency: str
    created_at: datetime
    outcome: Refunded | RefundPending | RefundFailed


@dataclass(frozen=True)
class GatewayDispute:
    """A dispute (chargeback) that a customer's bank opened.

    Attributes:
        payment_gateway_id: the gateway's id of the disputed payment.
        status: the gateway's status, for example `needs_response`, `won` or `lost`.
        amount: in major units of `currency`.
        reason: the bank's reason in the gateway's term, for example `fraudulent`.
        evidence_due_by: UTC; None if no evidence is asked for.
        created_at: UTC, by the gateway's clock.
    """

    gateway_id: str
    payment_gateway_id: str | None
    status: str
    amount: Decimal | None
    currency: str
    reason: str | None
    evidence_due_by: datetime | None
    created_at: datetime

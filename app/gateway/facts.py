"""What the gateway has on its books."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from app.gateway.outcomes import PaymentOutcome, Refunded, RefundFailed, RefundPending


@dataclass(frozen=True)
class GatewayPayment:
    """A payment at the gateway, ours or not.

    Attributes:
        namespace: the deployment that made it; empty for one without a mark.
        transaction_id: ours (`TXN-…`); None for a payment that this program did not make.
        amount: in major units of `currency`.
        created_at: UTC, by the gateway's clock.
        outcome: how it stands now.
        card_fingerprint: identifies the card number across payments, where the gateway gives it.
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
    card_fingerprint: str | None = None


@dataclass(frozen=True)
class GatewayRefund:
    """A refund at the gateway, ours or not.

    Attributes:
        refund_id: ours (`REF-…`); None for one made elsewhere, for example in the gateway's dashboard.
        payment_gateway_id: of the refunded payment.
        amount: in major units of `currency`.
        created_at: UTC, by the gateway's clock.
        outcome: how it stands now.
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
        payment_gateway_id: of the disputed payment.
        status: the gateway's word for it, for example `needs_response`, `won` or `lost`.
        amount: in major units of `currency`.
        reason: the bank's reason in the gateway's word, for example `fraudulent`.
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

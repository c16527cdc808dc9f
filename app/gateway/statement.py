"""What the gateway has on its books, to be compared with ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import stripe

from app.gateway.outcomes import RefundOutcome
from app.gateway.reading import metadata, refund_outcome
from app.money import from_minor


@dataclass(frozen=True)
class GatewayPayment:
    """A PaymentIntent.

    Attributes:
        transaction_id: ours; made with the same account by somebody else, it would have none.
        charged: whether the money moved.
        minor_amount: in Stripe's minor units of `currency`.
    """

    gateway_id: str
    transaction_id: str
    booking_id: str | None
    user_id: str | None
    charged: bool
    minor_amount: int
    currency: str
    created_at: datetime

    @property
    def amount(self) -> Decimal:
        """In major units."""
        return from_minor(self.minor_amount, self.currency)

    @classmethod
    def of(cls, intent: stripe.PaymentIntent) -> GatewayPayment | None:
        """Read one; None if it was not made by this service."""
        transaction_id = metadata(intent, "transaction_id")
        if not transaction_id:
            return None
        return cls(
            gateway_id=intent.id,
            transaction_id=transaction_id,
            booking_id=metadata(intent, "booking_id"),
            user_id=metadata(intent, "user_id"),
            charged=intent.status == "succeeded",
            minor_amount=intent.amount,
            currency=intent.currency.upper(),
            created_at=datetime.fromtimestamp(intent.created, UTC),
        )


@dataclass(frozen=True)
class GatewayRefund:
    """A refund.

    Attributes:
        refund_id: ours (`REF-…`), None for one made elsewhere, as in Stripe's dashboard.
        payment_gateway_id: of the PaymentIntent.
        outcome: whether the money is on its way back, will not come, or neither yet.
        minor_amount: in Stripe's minor units of `currency`.
    """

    gateway_id: str
    refund_id: str | None
    payment_gateway_id: str | None
    outcome: RefundOutcome
    minor_amount: int
    currency: str

    @property
    def amount(self) -> Decimal:
        """In major units."""
        return from_minor(self.minor_amount, self.currency)

    @classmethod
    def of(cls, refund: stripe.Refund) -> GatewayRefund:
        """Read one."""
        intent = refund.payment_intent
        return cls(
            gateway_id=refund.id,
            refund_id=metadata(refund, "refund_transaction_id"),
            payment_gateway_id=intent.id if isinstance(intent, stripe.PaymentIntent) else intent,
            outcome=refund_outcome(refund),
            minor_amount=refund.amount,
            currency=refund.currency.upper(),
        )

"""What the gateway is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CardDetails:
    """A card as typed by its holder, on its way to a PaymentMethod id. `year` has four digits.

    The number and the CVV live nowhere else: the repr hides them, and nothing stores or logs them.
    """

    number: str = field(repr=False)
    cvv: str = field(repr=False)
    month: int = field(repr=False)
    year: int = field(repr=False)


@dataclass(frozen=True)
class Charge:
    """A payment to make.

    Attributes:
        transaction_id: ours; Stripe's idempotency key, so that any number of tries charge once.
        minor_amount: in Stripe's minor units of `currency`.
        payment_method: a PaymentMethod id (`pm_…`), or None to pay with PayPal.
        return_url: where a redirect ends.
    """

    transaction_id: str
    minor_amount: int
    currency: str
    booking_id: str
    user_id: str
    payment_method: str | None
    return_url: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

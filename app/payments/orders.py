"""Requests of callers, after the API has checked their form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from app.gateway import CardDetails


@dataclass(frozen=True)
class PaymentOrder:
    """A payment to take.

    Attributes:
        amount: in major units of `currency`.
        currency: ISO 4217, or None for the default.
        contact: user_email, user_phone, user_name, and locale, as far as known; copied into events.
        customer_ip: the shopper's address, for abuse limits.
        replace_open: cancel an open payment of the same booking and user that waits for its customer.
    """

    user_id: str
    booking_id: str
    amount: Decimal
    currency: str | None
    payment_method: str
    payment_token: str | None = None
    card: CardDetails | None = None
    return_url: str | None = None
    contact: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    customer_ip: str | None = None
    replace_open: bool = False


@dataclass(frozen=True)
class RefundOrder:
    """A refund to make. `amount` is in major units; None means the whole remaining amount."""

    original_transaction_id: str
    booking_id: str
    user_id: str
    reason: str
    amount: Decimal | None = None


@dataclass(frozen=True)
class CancelOrder:
    """A payment to cancel before it is charged."""

    transaction_id: str
    booking_id: str
    user_id: str
    reason: str | None = None

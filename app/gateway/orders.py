"""Requests to a payment gateway."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

#: A card or another saved method by its id, PayPal's page, or the customer's choice in the browser.
ChargeKind = Literal["card", "paypal", "element"]


@dataclass(frozen=True)
class CardDetails:
    """Raw card details, to be exchanged for a payment method id. `year` has four digits.

    The number and the CVV exist only here: the repr hides them, and nothing stores or logs them.
    """

    number: str = field(repr=False)
    cvv: str = field(repr=False)
    month: int = field(repr=False)
    year: int = field(repr=False)


@dataclass(frozen=True)
class Charge:
    """A payment to make. Repeated with the same `transaction_id`, it must be equal in every field.

    Attributes:
        transaction_id: our id and the idempotency key, so that repeated requests charge once.
        amount: in major units of `currency`, in canonical form (`app.money.canonical_amount`).
        payment_method: the gateway's id of the method that pays; only for the kind `card`.
        kind: how the customer pays. `element` is not confirmed here but in the customer's browser.
        return_url: where a redirect ends; not for the kind `element`, where the browser sets it.
        metadata: the caller's, kept with the payment at the gateway. Names that movieapp uses are left out.
    """

    transaction_id: str
    amount: Decimal
    currency: str
    booking_id: str
    user_id: str
    payment_method: str | None
    kind: ChargeKind
    return_url: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RefundRequest:
    """A refund to make. Repeated with the same `refund_id`, it must be equal in every field.

    Attributes:
        refund_id: our id (`REF-…`) and the idempotency key.
        payment_gateway_id: the gateway's id of the payment to refund.
        amount: in major units of `currency`, the payment's.
    """

    refund_id: str
    payment_gateway_id: str
    amount: Decimal
    currency: str

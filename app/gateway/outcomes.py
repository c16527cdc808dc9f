"""What a gateway can answer. Three kinds, not two: charged, surely not charged, unknown."""

from __future__ import annotations

from dataclasses import dataclass

from app.declines import Decline


@dataclass(frozen=True)
class Charged:
    """The money moved."""

    gateway_id: str
    card_brand: str | None = None
    card_last_four: str | None = None


@dataclass(frozen=True)
class ActionRequired:
    """The customer has to confirm (3-D Secure) or to log in elsewhere (PayPal); nothing moved yet."""

    gateway_id: str
    client_secret: str
    redirect_url: str | None = None


@dataclass(frozen=True)
class Declined:
    """Surely not charged: the customer's bank said no."""

    decline: Decline
    gateway_id: str | None = None


@dataclass(frozen=True)
class Refused:
    """Surely not charged: the gateway would not work for us, or was never reached."""

    reason: str
    #: The amount is what it refused, as far below its minimum: the caller can mend that.
    bad_amount: bool = False


@dataclass(frozen=True)
class Unknown:
    """The request may have arrived and no answer came back. Never guessed: asked again later."""

    reason: str
    gateway_id: str | None = None


@dataclass(frozen=True)
class Refunded:
    """The money is on its way back."""

    gateway_id: str


RefundOutcome = Refunded | Refused | Unknown
PaymentOutcome = Charged | ActionRequired | Declined | Refused | Unknown

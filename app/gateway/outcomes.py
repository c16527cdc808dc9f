"""What a request to the gateway can come to: carried out, surely not carried out, or unknown."""

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
    """The customer has to act, and nothing moved yet.

    Either confirm (3-D Secure, PayPal's page), or pay in the browser with `client_secret`. In a browser a
    declined attempt ends nothing: the customer may try the next card with the same secret.

    Attributes:
        client_secret: lets a browser confirm this one payment. Never logged or stored.
        redirect_url: where the customer has to go, if the gateway names a page.
    """

    gateway_id: str
    client_secret: str
    redirect_url: str | None = None


@dataclass(frozen=True)
class Declined:
    """Surely not charged: the customer's bank said no, or the customer did.

    Attributes:
        card_fingerprint: identifies the card number across payments, where the gateway gives it.
    """

    decline: Decline
    gateway_id: str | None = None
    card_fingerprint: str | None = None


@dataclass(frozen=True)
class Canceled:
    """Surely not charged, and the gateway lets nobody confirm it any more.

    Attributes:
        decline: why the last attempt failed, or that nobody confirmed.
    """

    gateway_id: str
    decline: Decline


@dataclass(frozen=True)
class Refused:
    """Surely not carried out: the gateway rejected the request, or never received it.

    That is said of this request alone, not of an earlier one with the same key.

    Attributes:
        reason: for logs; holds no data of the request.
        transient: the same request may work later (rate limit, lock, no connection, rejected API key).
        bad_amount: the amount is what the gateway rejected, for example below its minimum.
    """

    reason: str
    transient: bool = False
    bad_amount: bool = False


@dataclass(frozen=True)
class Unknown:
    """The request may have been carried out. Never guessed: look it up later.

    Attributes:
        reason: for logs; holds no data of the request.
        gateway_id: what to look up, if any response named it.
    """

    reason: str
    gateway_id: str | None = None


@dataclass(frozen=True)
class Refunded:
    """The refund succeeded."""

    gateway_id: str


@dataclass(frozen=True)
class RefundPending:
    """The gateway accepted the refund. It may still fail, days later."""

    gateway_id: str
    reason: str


@dataclass(frozen=True)
class RefundFailed:
    """The gateway accepted the refund and could not carry it out: the money stays with the merchant."""

    gateway_id: str
    reason: str


PaymentOutcome = Charged | ActionRequired | Declined | Canceled | Refused | Unknown
RefundOutcome = Refunded | RefundPending | RefundFailed | Refused | Unknown

"""Outcomes of gateway requests: carried out, certainly not carried out, or unknown."""

from __future__ import annotations

from dataclasses import dataclass

from app.declines import Decline


@dataclass(frozen=True)
class Charged:
    """The payment succeeded."""

    gateway_id: str
    card_brand: str | None = None
    card_last_four: str | None = None


@dataclass(frozen=True)
class ActionRequired:
    """The customer has to act. Nothing is charged yet.

    Either confirm (3-D Secure, PayPal's page), or pay in the browser with `client_secret`. In a browser, a
    declined attempt is not final: the customer may try another card with the same secret.

    Attributes:
        client_secret: lets a browser confirm this one payment. Never logged or stored.
        redirect_url: where the customer has to go, if the gateway names a page.
    """

    gateway_id: str
    client_secret: str
    redirect_url: str | None = None


@dataclass(frozen=True)
class Declined:
    """Certainly not charged: the bank or the customer refused.

    Attributes:
        card_fingerprint: identifies the card number across payments, where the gateway gives it.
        attempt_id: identifies the attempt: the same in every report of it, another for each further attempt.
    """

    decline: Decline
    gateway_id: str | None = None
    card_fingerprint: str | None = None
    attempt_id: str | None = None


@dataclass(frozen=True)
class Canceled:
    """Certainly not charged, and it can no longer be confirmed.

    Attributes:
        decline: why the last attempt failed, or that nobody confirmed.
        requested: whether someone requested the cancellation; False if the customer took too long.
    """

    gateway_id: str
    decline: Decline
    requested: bool = False


@dataclass(frozen=True)
class Refused:
    """Certainly not carried out: the gateway rejected the request, or never received it.

    This holds for this request only, not for an earlier one with the same key.

    Attributes:
        reason: for logs; holds no data of the request.
        transient: the same request may work later (rate limit, lock, no connection, rejected API key).
        bad_amount: the gateway rejected the amount, for example as below its minimum.
    """

    reason: str
    transient: bool = False
    bad_amount: bool = False


@dataclass(frozen=True)
class Unknown:
    """The request may have been carried out. Never guessed: look it up later.

    Attributes:
        reason: for logs; holds no data of the request.
        gateway_id: the id to look up, if a response had it.
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

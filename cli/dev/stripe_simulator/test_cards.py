"""Stripe's test PaymentMethods and what happens when they pay. Source: https://docs.stripe.com/testing"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TestCard:
    """A card that always behaves the same. `decline` is Stripe's code and decline_code."""

    brand: str
    last4: str
    decline: tuple[str, str | None] | None = None
    three_d_secure: bool = False
    funding: str = "credit"


_FRAUD = ("card_declined", "fraudulent")

CARDS: dict[str, TestCard] = {
    "pm_card_visa": TestCard("visa", "4242"),
    "pm_card_visa_debit": TestCard("visa", "5556", funding="debit"),
    "pm_card_mastercard": TestCard("mastercard", "4444"),
    "pm_card_amex": TestCard("amex", "8431"),
    "pm_card_discover": TestCard("discover", "1117"),
    "pm_card_chargeDeclined": TestCard("visa", "0002", ("card_declined", "generic_decline")),
    "pm_card_visa_chargeDeclined": TestCard("visa", "0002", ("card_declined", "generic_decline")),
    "pm_card_chargeDeclinedInsufficientFunds": TestCard(
        "visa", "9995", ("card_declined", "insufficient_funds")
    ),
    "pm_card_visa_chargeDeclinedInsufficientFunds": TestCard(
        "visa", "9995", ("card_declined", "insufficient_funds")
    ),
    "pm_card_visa_chargeDeclinedLostCard": TestCard("visa", "9987", ("card_declined", "lost_card")),
    "pm_card_visa_chargeDeclinedStolenCard": TestCard("visa", "9979", ("card_declined", "stolen_card")),
    "pm_card_chargeDeclinedFraudulent": TestCard("visa", "0019", _FRAUD),
    "pm_card_chargeDeclinedExpiredCard": TestCard("visa", "0069", ("expired_card", None)),
    "pm_card_chargeDeclinedIncorrectCvc": TestCard("visa", "0127", ("incorrect_cvc", None)),
    "pm_card_chargeDeclinedProcessingError": TestCard("visa", "0119", ("processing_error", None)),
    "pm_card_authenticationRequired": TestCard("visa", "3155", three_d_secure=True),
    "pm_card_threeDSecure2Required": TestCard("visa", "3220", three_d_secure=True),
}

MESSAGES: dict[str, str] = {
    "card_declined": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "incorrect_cvc": "Your card's security code is incorrect.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
}

"""Stripe's test cards, their PaymentMethods, and their behavior.

Sources: https://docs.stripe.com/testing and, for advice codes, https://docs.stripe.com/declines/card
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decline:
    """A bank's refusal, in the fields of Stripe's error."""

    code: str
    decline_code: str
    message: str = "Your card was declined."
    advice_code: str | None = None
    param: str | None = None


@dataclass(frozen=True)
class TestCard:
    """A card that always behaves the same.

    Attributes:
        number: published by Stripe; never stored.
        asks: whether the customer must authenticate (3-D Secure) before the charge.
        decline: the bank's refusal; None if the card pays.
        dispute: the reason of the dispute that follows a payment.
        inquiry: the dispute begins as an inquiry: no funds are withdrawn.
        fraud_warning: an early fraud warning follows a payment.
        refund: the status in which its refunds begin.
    """

    number: str
    brand: str = "visa"
    funding: str = "credit"
    asks: bool = False
    decline: Decline | None = None
    dispute: str | None = None
    inquiry: bool = False
    fraud_warning: bool = False
    refund: str = "succeeded"

    @property
    def last4(self) -> str:
        return self.number[-4:]


GENERIC = Decline("card_declined", "generic_decline", advice_code="try_again_later")
INSUFFICIENT_FUNDS = Decline(
    "card_declined", "insufficient_funds", "Your card has insufficient funds.", "try_again_later"
)
LOST = Decline("card_declined", "lost_card", advice_code="do_not_try_again")
STOLEN = Decline("card_declined", "stolen_card", advice_code="do_not_try_again")
FRAUDULENT = Decline("card_declined", "fraudulent")
EXPIRED = Decline("expired_card", "expired_card", "Your card has expired.", "confirm_card_data", "exp_month")
INCORRECT_CVC = Decline(
    "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.", "confirm_card_data", "cvc"
)
PROCESSING_ERROR = Decline(
    "processing_error",
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
    "try_again_later",
)
VELOCITY = Decline(
    "card_declined",
    "card_velocity_exceeded",
    "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
    "try_again_later",
)

_DECLINED = TestCard("4000000000000002", decline=GENERIC)
_INSUFFICIENT_FUNDS = TestCard("4000000000009995", decline=INSUFFICIENT_FUNDS)
_LOST = TestCard("4000000000009987", decline=LOST)
_STOLEN = TestCard("4000000000009979", decline=STOLEN)
_EXPIRED = TestCard("4000000000000069", decline=EXPIRED)
_INCORRECT_CVC = TestCard("4000000000000127", decline=INCORRECT_CVC)
_PROCESSING_ERROR = TestCard("4000000000000119", decline=PROCESSING_ERROR)
_FRAUDULENT = TestCard("4100000000000019", decline=FRAUDULENT)

#: By the PaymentMethod of the card in every test account.
CARDS: dict[str, TestCard] = {
    # They pay.
    "pm_card_visa": TestCard("4242424242424242"),
    "pm_card_visa_debit": TestCard("4000056655665556", funding="debit"),
    "pm_card_mastercard": TestCard("5555555555554444", "mastercard"),
    "pm_card_mastercard_debit": TestCard("5200828282828210", "mastercard", "debit"),
    "pm_card_mastercard_prepaid": TestCard("5105105105105100", "mastercard", "prepaid"),
    "pm_card_amex": TestCard("371449635398431", "amex"),
    "pm_card_discover": TestCard("6011111111111117", "discover"),
    "pm_card_diners": TestCard("3056930009020004", "diners"),
    "pm_card_jcb": TestCard("3566002020360505", "jcb"),
    "pm_card_unionpay": TestCard("6200000000000005", "unionpay"),
    "pm_card_threeDSecureOptional": TestCard("4000000000003055"),
    # Their bank declines.
    "pm_card_chargeDeclined": _DECLINED,
    "pm_card_visa_chargeDeclined": _DECLINED,
    "pm_card_chargeDeclinedInsufficientFunds": _INSUFFICIENT_FUNDS,
    "pm_card_visa_chargeDeclinedInsufficientFunds": _INSUFFICIENT_FUNDS,
    "pm_card_chargeDeclinedLostCard": _LOST,
    "pm_card_visa_chargeDeclinedLostCard": _LOST,
    "pm_card_chargeDeclinedStolenCard": _STOLEN,
    "pm_card_visa_chargeDeclinedStolenCard": _STOLEN,
    "pm_card_chargeDeclinedExpiredCard": _EXPIRED,
    "pm_card_visa_chargeDeclinedExpiredCard": _EXPIRED,
    "pm_card_chargeDeclinedIncorrectCvc": _INCORRECT_CVC,
    "pm_card_visa_chargeDeclinedIncorrectCvc": _INCORRECT_CVC,
    "pm_card_chargeDeclinedProcessingError": _PROCESSING_ERROR,
    "pm_card_visa_chargeDeclinedProcessingError": _PROCESSING_ERROR,
    "pm_card_chargeDeclinedFraudulent": _FRAUDULENT,
    "pm_card_visa_chargeDeclinedFraudulent": _FRAUDULENT,
    "pm_card_radarBlock": _FRAUDULENT,
    "pm_card_visa_chargeDeclinedVelocityLimitExceeded": TestCard("4000000000006975", decline=VELOCITY),
    "pm_card_chargeCustomerFail": TestCard("4000000000000341", decline=GENERIC),
    # The customer authenticates first.
    "pm_card_authenticationRequired": TestCard("4000002760003184", asks=True),
    "pm_card_authenticationRequiredOnSetup": TestCard("4000002500003155", asks=True),
    "pm_card_authenticationRequiredSetupForOffSession": TestCard("4000003800000446", asks=True),
    "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": TestCard(
        "4000008260003178", asks=True, decline=INSUFFICIENT_FUNDS
    ),
    "pm_card_threeDSecure2Required": TestCard("4000000000003220", asks=True),
    "pm_card_threeDSecureRequired": TestCard("4000000000003063", asks=True),
    "pm_card_threeDSecureRequiredChargeDeclined": TestCard("4000008400001629", asks=True, decline=GENERIC),
    # They pay, and a later event follows.
    "pm_card_createDispute": TestCard("4000000000000259", dispute="fraudulent"),
    "pm_card_createDisputeProductNotReceived": TestCard("4000000000002685", dispute="product_not_received"),
    "pm_card_createDisputeInquiry": TestCard("4000000000001976", dispute="fraudulent", inquiry=True),
    "pm_card_createIssuerFraudRecord": TestCard("4000000000005423", fraud_warning=True),
    "pm_card_pendingRefund": TestCard("4000000000007726", refund="pending"),
}

#: Other numbers that pay, without their own PaymentMethod.
_ALSO = (
    TestCard("4111111111111111"),
    TestCard("378282246310005", "amex"),
    TestCard("2223003122003222", "mastercard"),
)

NUMBERS: dict[str, TestCard] = {card.number: card for card in (*CARDS.values(), *_ALSO)}

#: A stored card is identified by these two, so no two test cards share them.
_KNOWN = {(card.brand, card.last4): card for card in NUMBERS.values()}


def card_of(brand: str, last4: str) -> TestCard:
    """Return the test card that a stored PaymentMethod was created from."""
    return _KNOWN[brand, last4]

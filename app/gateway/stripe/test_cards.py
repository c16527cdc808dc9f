"""Stripe's test cards and the payment methods that represent them: https://docs.stripe.com/testing"""

from __future__ import annotations

from app.errors import InvalidCard

#: The PaymentMethod used in test mode if a request has no card.
DEFAULT_TEST_METHOD = "pm_card_visa"

#: Card number → PaymentMethod id.
TEST_METHODS: dict[str, str] = {
    "4242424242424242": "pm_card_visa",
    "4111111111111111": "pm_card_visa",
    "5555555555554444": "pm_card_mastercard",
    "378282246310005": "pm_card_amex",
    "4000000000000002": "pm_card_visa_chargeDeclined",
    "4000000000009995": "pm_card_visa_chargeDeclinedInsufficientFunds",
    "4000000000000069": "pm_card_chargeDeclinedExpiredCard",
    "4000002500003155": "pm_card_authenticationRequired",
}


def method_for(number: str) -> str:
    """Return the PaymentMethod id that stands for a test card.

    Raises:
        InvalidCard: Stripe has no test PaymentMethod for the number.
    """
    method = TEST_METHODS.get(number)
    if method is None:
        raise InvalidCard(
            "This card number is not one of the accepted test cards. "
            "Use a card from the API guide (docs/api.md).",
            field="card_number",
        )
    return method

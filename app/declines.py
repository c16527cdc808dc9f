"""Decline reasons, shared by the API's responses, events, and emails.

Each gateway translates its codes into these rows. None of them says that a card was reported lost or stolen
or that a charge looked fraudulent: card networks and gateways ask not to tell customers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Advice: none, wait, use another card or payment method, or correct the input.
Retry = Literal["never", "later", "other_card", "check_details"]


@dataclass(frozen=True)
class Decline:
    """The public reason of a failed payment.

    Attributes:
        code: the contract's error code.
        message: a sentence or two for the customer; also the key of its translation.
        retry: whether and how another attempt can succeed.
    """

    code: str
    message: str
    retry: Retry


GENERIC = Decline("CARD_DECLINED", "Your card was declined. Please use another card.", "other_card")
LATER = Decline(
    "CARD_DECLINED", "Your card was declined. Please try again later or use another card.", "later"
)
FUNDS = Decline(
    "INSUFFICIENT_FUNDS", "Your card has insufficient funds. Please use another card.", "other_card"
)
LIMIT = Decline(
    "INSUFFICIENT_FUNDS",
    "Your card has reached its limit. Please try again later or use another card.",
    "later",
)
EXPIRED = Decline("CARD_EXPIRED", "Your card has expired. Please use another card.", "other_card")
NUMBER = Decline("INVALID_CARD", "The card number is incorrect. Please check it.", "check_details")
CVC = Decline("INVALID_CARD", "The card's security code is incorrect. Please check it.", "check_details")
EXPIRY = Decline("INVALID_CARD", "The card's expiry date is incorrect. Please check it.", "check_details")
DETAILS = Decline("INVALID_CARD", "The card's details are incorrect. Please check them.", "check_details")
PROCESSING = Decline(
    "CARD_DECLINED", "Your bank could not process the card just now. Please try again in a moment.", "later"
)
AUTHENTICATION = Decline(
    "CARD_DECLINED",
    "Your bank could not confirm that it is you. Please try again or use another card.",
    "later",
)
UNSUPPORTED = Decline(
    "CARD_DECLINED", "Your card can't make this payment. Please use another card.", "other_card"
)
STOPPED = Decline(
    "CARD_DECLINED", "Your bank has been told not to allow this payment. Please contact your bank.", "never"
)

# Not a card payment, or the bank made no decision.
PROVIDER = Decline(
    "CARD_DECLINED", "The payment was declined. Please use another payment method.", "other_card"
)
CUSTOMER_CANCELED = Decline(
    "CUSTOMER_CANCELED",
    "The payment was canceled before it was completed. Nothing was charged.",
    "later",
)
NOT_CONFIRMED = Decline(
    "CARD_DECLINED", "The payment was not confirmed in time. Nothing was charged; please try again.", "later"
)
GATEWAY_ERROR = Decline(
    "PAYMENT_GATEWAY_ERROR",
    "The payment could not be made. Nothing was charged; please try again soon.",
    "later",
)
BAD_AMOUNT = Decline(
    "INVALID_AMOUNT", "This amount can't be charged. Nothing was charged; please contact us.", "never"
)

#: Every decline that a payment can fail with.
EVERY = frozenset(
    {
        GENERIC,
        LATER,
        FUNDS,
        LIMIT,
        EXPIRED,
        NUMBER,
        CVC,
        EXPIRY,
        DETAILS,
        PROCESSING,
        AUTHENTICATION,
        UNSUPPORTED,
        STOPPED,
        PROVIDER,
        CUSTOMER_CANCELED,
        NOT_CONFIRMED,
        GATEWAY_ERROR,
        BAD_AMOUNT,
    }
)

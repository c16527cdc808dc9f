"""Why a payment failed, in our words: the same rows for the API's response, the event and the mail.

Each gateway translates its codes into these rows. None of them says that a card was reported lost or stolen
or that a charge looked fraudulent: card networks and gateways ask not to tell customers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: What can help: nothing, waiting, another card or payment method, or correcting what was typed.
Retry = Literal["never", "later", "other_card", "check_details"]


@dataclass(frozen=True)
class Decline:
    """A failed payment as others see it.

    Attributes:
        code: the contract's error code.
        message: a sentence or two for the customer; also the key of its translation.
        retry: what can help.
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
NUMBER = Decline("INVALID_CARD", "The card number is not right. Please check it.", "check_details")
CVC = Decline("INVALID_CARD", "The card's security code is not right. Please check it.", "check_details")
EXPIRY = Decline("INVALID_CARD", "The card's expiry date is not right. Please check it.", "check_details")
DETAILS = Decline("INVALID_CARD", "The card's details are not right. Please check them.", "check_details")
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

# Where the customer did not pay by card, or the bank decided nothing.
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

#: Every row that a payment can fail with.
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

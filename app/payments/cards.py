"""Check raw card details, exchange them for a payment method id, and discard them.

The number and the CVV exist only in a `CardDetails`, never in a store or log.
"""

from __future__ import annotations

import re
from datetime import datetime

from app.errors import CardExpired, InvalidCard
from app.gateway import CardDetails
from app.luhn import is_luhn_valid

#: American Express prints four digits on the front; every other brand three on the back.
_AMEX = re.compile(r"3[47]")


def check_card(card: CardDetails, now: datetime) -> None:
    """Refuse an unusable card, with separate errors for number, expiry, and CVV.

    Raises:
        InvalidCard: the number fails the Luhn check or has a wrong length, the CVV's length is not the
            brand's, or the month is invalid.
        CardExpired: the month has passed. A card is valid until the end of its month.
    """
    if not re.fullmatch(r"[0-9]{12,19}", card.number) or not is_luhn_valid(card.number):
        raise InvalidCard("The card number is incorrect. Please check it.", field="card_number")
    length = 4 if _AMEX.match(card.number) else 3
    if not re.fullmatch(rf"[0-9]{{{length}}}", card.cvv):
        raise InvalidCard(
            f"The security code of this card must have {length} digits. Please check it.", field="cvv"
        )
    if not 1 <= card.month <= 12:
        raise InvalidCard("The expiry month is incorrect. Please check it.", field="expiry_month")
    if (card.year, card.month) < (now.year, now.month):
        raise CardExpired("The card has expired. Please use another card.", field="expiry")

"""Raw card details: checked before any call, exchanged for a payment method's id, and forgotten.

The number and the CVV live only in a `CardDetails` and reach no store or log.
"""

from __future__ import annotations

import re
from datetime import datetime

from app.errors import CardExpired, InvalidCard
from app.gateway import CardDetails
from app.luhn import luhn_valid

#: American Express prints four digits on the front; every other brand three on the back.
_AMEX = re.compile(r"3[47]")


def check_card(card: CardDetails, now: datetime) -> None:
    """Refuse what can't be a usable card, telling number, expiry and CVV apart.

    Raises:
        InvalidCard: the number fails the Luhn check or has a wrong length, the CVV's length is not the
            brand's, or there is no such month.
        CardExpired: the month is past; a card is good to the end of it.
    """
    if not re.fullmatch(r"[0-9]{12,19}", card.number) or not luhn_valid(card.number):
        raise InvalidCard("The card number is not right. Please check it.", field="card_number")
    length = 4 if _AMEX.match(card.number) else 3
    if not re.fullmatch(rf"[0-9]{{{length}}}", card.cvv):
        raise InvalidCard(
            f"The security code of this card has {length} digits. Please check it.", field="cvv"
        )
    if not 1 <= card.month <= 12:
        raise InvalidCard("The expiry month is not right. Please check it.", field="expiry_month")
    if (card.year, card.month) < (now.year, now.month):
        raise CardExpired("The card has expired. Please use another card.", field="expiry")

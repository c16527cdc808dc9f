"""What a template sees of an event: the fields below, each ready to print, and nothing else.

Absent, null and blank are the same: the field is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from actors.mail import presenters
from actors.mail.conventions import Conventions
from actors.mail.errors import Unpresentable
from actors.mail.presenters import Presenter
from actors.mail.wording import CARD_BRANDS, PAYMENT_METHODS

_MOST_SHOWTIMES = 6


def _showtimes(conventions: Conventions, value: Any) -> list[dict[str, Any]]:
    others = presenters.items(value)[:_MOST_SHOWTIMES]
    if not all(isinstance(other, Mapping) for other in others):
        raise Unpresentable("is no list of showtimes")
    return [_present(conventions, other, ("showtime", "cinema_name", "booking_url")) for other in others]


_TEXTS = (
    "event_type",
    "user_name",
    "booking_id",
    "transaction_id",
    "original_transaction_id",
    "refund_transaction_id",
    "error_code",
    "reason",
    "processing_time",
    "movie_title",
    "cinema_name",
    "cinema_address",
    "screen",
    "cancellation_reason",
)
_AMOUNTS = ("amount", "total_amount", "refund_amount")
_MOMENTS = ("showtime", "timestamp", "processed_at", "cancelled_at", "booking_date")
_LINKS = ("ticket_url", "directions_url", "retry_url", "policy_url", "booking_url")

#: Field of an event → how it is shown.
FIELDS: dict[str, Presenter] = {
    **dict.fromkeys(_TEXTS, presenters.text),
    **dict.fromkeys(_AMOUNTS, Conventions.money),
    **dict.fromkeys(_MOMENTS, Conventions.moment),
    **dict.fromkeys(_LINKS, presenters.url),
    "retry_possible": presenters.flag,
    "refund_eligible": presenters.flag,
    "seats": presenters.seats,
    "duration_minutes": presenters.minutes,
    "payment_method": presenters.named(PAYMENT_METHODS),
    "card_brand": presenters.named(CARD_BRANDS),
    "card_last_four": presenters.last_four,
    "failure_reason": presenters.harmless,
    "alternative_showtimes": _showtimes,
}


def view(event: Mapping[str, Any], default_currency: str) -> dict[str, Any]:
    """The fields of `event`, ready to print.

    Args:
        event: as it came.
        default_currency: ISO 4217, for an event that names none.

    Raises:
        Unpresentable: a field has a value of the wrong kind; the message names it.
    """
    return _present(Conventions.of(event, default_currency), event, FIELDS)


def _present(conventions: Conventions, source: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    shown = {}
    for name in names:
        if source.get(name) is None:
            continue
        try:
            value = FIELDS[name](conventions, source[name])
        except Unpresentable as error:
            raise Unpresentable(f"{name} {error}") from None
        if value not in (None, ""):
            shown[name] = value
    return shown

"""The event fields that templates can use, each formatted for printing.

Absent, null, and blank fields are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from actors.channels.email import presenters
from actors.channels.email.conventions import Conventions
from actors.channels.email.errors import Unpresentable
from actors.channels.email.presenters import Presenter
from actors.channels.email.wording import CARD_BRANDS, PAYMENT_METHODS
from app.events.catalog import DELIVERED
from app.events.changes import material_changes
from app.languages import Language
from app.text import one_line

_MAX_SHOWTIMES = 6

#: Maximum characters of the old or new value of a change.
_MAX_BRIEF = 40

#: Card brand and last four digits.
CARD, CARD_END = "%(brand)s ending in %(end)s", "Ending in %(end)s"

#: A sender's wording of the refund time → the message to translate.
_DAYS = re.compile(r"(?P<least>[0-9]{1,2}) ?[-\u2013] ?(?P<most>[0-9]{1,2}) business days", re.IGNORECASE)
BUSINESS_DAYS = "%(least)s-%(most)s business day", "%(least)s-%(most)s business days"

#: Fields whose values may be translated: names of codes, and messages of our payment service.
_CODE_FIELDS = {"payment_method", "reason"}


def _showtimes(conventions: Conventions, value: Any) -> list[dict[str, Any]]:
    others = presenters.items(value)[:_MAX_SHOWTIMES]
    if not all(isinstance(other, Mapping) for other in others):
        raise Unpresentable("must be a list of showtimes")
    return [_present(conventions, other, ("showtime", "cinema_name", "booking_url")) for other in others]


def _tickets(conventions: Conventions, value: Any) -> list[dict[str, Any]]:
    tickets = presenters.items(value)
    if not all(isinstance(ticket, Mapping) for ticket in tickets):
        raise Unpresentable("must be a list of tickets")
    return [_present(conventions, ticket, ("seat", "code", "category", "holder_name")) for ticket in tickets]


_TEXTS = (
    "reason",
    "processing_time",
    "movie_title",
    "cinema_name",
    "cinema_address",
    "screen",
    "cancellation_reason",
    "seat",
    "category",
)
_IDS = (
    "code",
    "event_type",
    "error_code",
    "booking_id",
    "transaction_id",
    "original_transaction_id",
    "refund_transaction_id",
)
_AMOUNTS = ("amount", "total_amount", "refund_amount")
_MOMENTS = ("showtime", "timestamp", "processed_at", "cancelled_at", "booking_date")
_LINKS = ("ticket_url", "directions_url", "retry_url", "policy_url", "booking_url")

#: Field of an event → its formatter.
FIELDS: dict[str, Presenter] = {
    **dict.fromkeys(_TEXTS, presenters.text),
    **dict.fromkeys(_IDS, presenters.identifier),
    **dict.fromkeys(_AMOUNTS, Conventions.money),
    **dict.fromkeys(_MOMENTS, Conventions.moment),
    **dict.fromkeys(_LINKS, presenters.url),
    "user_name": presenters.person,
    "retry_possible": presenters.flag,
    "refund_eligible": presenters.flag,
    "seats": presenters.seats,
    "duration_minutes": presenters.minutes,
    "payment_method": presenters.named(PAYMENT_METHODS),
    "card_brand": presenters.named(CARD_BRANDS),
    "card_last_four": presenters.last_four,
    "failure_reason": presenters.harmless,
    "retry_advice": presenters.text,
    "poster_url": presenters.picture,
    "alternative_showtimes": _showtimes,
    "tickets": _tickets,
    "holder_name": presenters.person,
}


def view(event: Mapping[str, Any], conventions: Conventions, language: Language) -> dict[str, Any]:
    """Return the formatted fields of `event`.

    Args:
        event: a valid event.
        conventions: the reader's conventions.
        language: language for the names of codes.

    Raises:
        Unpresentable: a field has an invalid value. The message names it.
    """
    # An unknown field may have the name of another type's field, with any value.
    declared = DELIVERED[event["event_type"]].schema.fields
    shown = _present(conventions, event, [name for name in FIELDS if name in declared])
    for name in _CODE_FIELDS & shown.keys():
        shown[name] = language.gettext(shown[name])
    if days := _DAYS.fullmatch(shown.get("processing_time", "")):
        said = language.ngettext(*BUSINESS_DAYS, int(days["most"]))
        shown["processing_time"] = said % days.groupdict()
    if "showtime" in shown:
        shown["brief_showtime"] = conventions.brief(event["showtime"])
    if event.get("previous"):
        shown["changes"] = [
            {
                "name": change.name,
                "old": language.comma.join(_shown_parts(change.old, conventions)),
                "new": language.comma.join(_shown_parts(change.new, conventions)),
            }
            for change in material_changes(event)
        ]
    if "card_brand" in shown or "card_last_four" in shown:
        shown["card"] = _card(shown, language)
    return shown


def brief_of(fields: Mapping[str, Any], conventions: Conventions, language: Language) -> str:
    """Format one side of a change briefly: a cinema by its name."""
    if "showtime" in fields:
        return conventions.brief(fields["showtime"])
    if "cinema_name" in fields:
        fields = {"cinema_name": fields["cinema_name"]}
    return one_line(language.comma.join(_shown_parts(fields, conventions)), _MAX_BRIEF)


def _shown_parts(fields: Mapping[str, Any], conventions: Conventions) -> Iterator[str]:
    for value in _present(conventions, fields, fields).values():
        yield from value if isinstance(value, list) else (value,)


def _card(shown: Mapping[str, Any], language: Language) -> str:
    brand, end = shown.get("card_brand"), shown.get("card_last_four")
    if brand and end:
        return language.gettext(CARD) % {"brand": brand, "end": end}
    return str(brand or language.gettext(CARD_END) % {"end": end})


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

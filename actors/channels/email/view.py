"""What a template sees of an event: the fields below, each ready to print, and nothing else.

Absent, null and blank are the same: the field is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from actors.channels.email import presenters
from actors.channels.email.conventions import Conventions
from actors.channels.email.errors import Unpresentable
from actors.channels.email.languages import Language
from actors.channels.email.presenters import Presenter
from actors.channels.email.wording import CARD_BRANDS, PAYMENT_METHODS
from app.events.catalog import CATALOG
from app.events.changes import material_changes
from app.text import one_line

_MOST_SHOWTIMES = 6

#: Characters of one side of a change.
_MAX_BRIEF = 40

#: A card, as far as it is told.
CARD, CARD_END = "%(brand)s ending in %(end)s", "Ending in %(end)s"

#: Fields whose values a catalogue may know: codes by their names, and sentences of our own payment service.
_WORDS = {"payment_method", "reason", "processing_time"}


def _showtimes(conventions: Conventions, value: Any) -> list[dict[str, Any]]:
    others = presenters.items(value)[:_MOST_SHOWTIMES]
    if not all(isinstance(other, Mapping) for other in others):
        raise Unpresentable("is not a list of showtimes")
    return [_present(conventions, other, ("showtime", "cinema_name", "booking_url")) for other in others]


def _tickets(conventions: Conventions, value: Any) -> list[dict[str, Any]]:
    tickets = presenters.items(value)
    if not all(isinstance(ticket, Mapping) for ticket in tickets):
        raise Unpresentable("is no list of tickets")
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

#: Field of an event → how it is shown.
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
    """The fields of `event`, ready to print.

    Args:
        event: checked.
        conventions: how its reader writes amounts and times.
        language: of the words that stand for codes.

    Raises:
        Unpresentable: a field has a value of the wrong kind; the message names it.
    """
    # An unknown field of this type may have the name of another type's, and any value.
    declared = CATALOG[event["event_type"]].schema.fields
    shown = _present(conventions, event, [name for name in FIELDS if name in declared])
    for name in _WORDS & shown.keys():
        shown[name] = language.gettext(shown[name])
    if event.get("previous"):
        shown["changes"] = [
            {
                "name": change.name,
                "old": ", ".join(_shown_parts(change.old, conventions)),
                "new": ", ".join(_shown_parts(change.new, conventions)),
            }
            for change in material_changes(event)
        ]
    if "card_brand" in shown or "card_last_four" in shown:
        shown["card"] = _card(shown, language)
    return shown


def brief_of(fields: Mapping[str, Any], conventions: Conventions) -> str:
    """Return one side of a change in few characters: a cinema by its name."""
    if "showtime" in fields:
        return conventions.brief(fields["showtime"])
    if "cinema_name" in fields:
        fields = {"cinema_name": fields["cinema_name"]}
    return one_line(", ".join(_shown_parts(fields, conventions)), _MAX_BRIEF)


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

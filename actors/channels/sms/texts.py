"""What each event says in an SMS: the booking's code, amounts, and times as in the mail, in one segment.

Only the film's title is shortened, and only links are left out, to stay within a segment. What is too long
nevertheless (a date in another alphabet, for example) goes out in several. Every language takes the same code
path: the sentences come from the same catalogs as the mails'.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from babel.numbers import get_currency_symbol

from actors.channels.email.conventions import Conventions
from actors.channels.email.errors import Unpresentable
from actors.channels.email.languages import Language, Languages
from actors.channels.email.presenters import url
from actors.channels.email.view import brief_of, view
from actors.channels.sms import gsm7
from actors.errors import PermanentFailure
from app.events.changes import material_changes

#: Characters of a shortened title. A shorter one says nothing, and is left out instead.
_SHORTEST_TITLE = 8

#: Characters of a title in a message that takes several segments anyway.
_TITLE_IN_SEVERAL = 30

#: Codes of a booking's tickets in one message; the others are behind the link.
_MOST_CODES = 10


@dataclass(frozen=True)
class _Text:
    """The sentences of one event type. Fields in braces; a sentence is there only if its fields are.

    Attributes:
        start: with the booking's code.
        details: follow it, after a colon, separated by commas.
        more: sentences that follow.
    """

    start: str
    details: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    def in_language(self, language: Language) -> _Text:
        """The same in another language."""
        return _Text(language.gettext(self.start), self.details, tuple(map(language.gettext, self.more)))

    def fill(self, fields: Mapping[str, str]) -> str:
        """The message with `fields` in it; a blank one is absent.

        Raises:
            KeyError: `start` needs one that is absent.
        """
        known = {name: value for name, value in fields.items() if value}
        details = ", ".join(_possible(self.details, known))
        start = self.start.format_map(known) + (f": {details}." if details else ".")
        return " ".join([start, *_possible(self.more, known)])


def _possible(parts: Iterable[str], fields: Mapping[str, str]) -> Iterator[str]:
    for part in parts:
        try:
            yield part.format_map(fields)
        except KeyError:
            continue


_REFUND = _Text("{sender}: Refund of {refund_amount} for booking {booking_id} is on its way")
_TICKETS = ("Codes: {codes}.", "Tickets: {ticket_url}")

#: Event type → its message.
TEXTS = {
    "booking.confirmed": _Text(
        "{sender}: Booking {booking_id} confirmed", ("{movie_title}", "{showtime}"), _TICKETS
    ),
    "booking.updated": _Text(
        "{sender}: Booking {booking_id} has changed",
        ("{movie_title}",),
        (
            "New time: {new_showtime} (was {old_showtime}).",
            "New cinema: {new_cinema} (was {old_cinema}).",
            "New screen: {new_screen} (was {old_screen}).",
            "New seats: {new_seats} (were {old_seats}).",
            *_TICKETS,
        ),
    ),
    "booking.cancelled": _Text(
        "{sender}: Booking {booking_id} is cancelled",
        ("{movie_title}", "{showtime}"),
        ("Refund: {refund_amount}.",),
    ),
    "booking.refunded": _REFUND,
    "payment.refund": _REFUND,
    "payment.success": _Text("{sender}: Payment of {amount} for booking {booking_id} received"),
    "payment.failed": _Text(
        "{sender}: Payment of {amount} for booking {booking_id} failed",
        more=("Nothing was charged.", "Try again: {retry_url}"),
    ),
}


def sentences() -> Iterator[str]:
    """Every sentence, in English: what the catalogs translate."""
    for text in TEXTS.values():
        yield from (text.start, *text.more)


class Texts:
    """Writes SMS.

    Args:
        sender: who is speaking; a phone shows a bare number.
        default_currency: ISO 4217, for an event that names none.
        default_zone: of the IANA database, for times that name none; "" leaves them as they stand.
    """

    def __init__(self, sender: str, default_currency: str, default_zone: str = "") -> None:
        self._sender = gsm7.plain(sender)
        self._default_currency = default_currency
        self._default_zone = default_zone
        self._languages = Languages()

    def write(self, event_type: str, event: Mapping[str, Any]) -> str:
        """Write the message for one event.

        Raises:
            PermanentFailure: a field is missing, or can't be shown.
        """
        try:
            wanted = Conventions.of(event, self._default_currency, self._default_zone)
            language, locale = self._languages.of(wanted.locale)
            conventions = replace(wanted, locale=locale)
            text = TEXTS[event_type].in_language(language)
            return _fitting(text, self._fields(event, conventions, language))
        except Unpresentable as error:
            raise PermanentFailure(f"no text for {event_type}: the field {error}") from error
        except KeyError as error:
            raise PermanentFailure(f"no text for {event_type}: the field {error} is missing") from error

    def _fields(
        self, event: Mapping[str, Any], conventions: Conventions, language: Language
    ) -> dict[str, str]:
        shown = view(event, conventions, language)
        if shown.get("refund_eligible") is False:
            shown.pop("refund_amount", None)
        if not shown.get("retry_possible"):
            shown.pop("retry_url", None)
        # Codes and links are their readers' to copy: as they are.
        fields = {"sender": self._sender}
        fields |= {name: str(shown[name]) for name in ("booking_id", "retry_url") if name in shown}
        fields |= {name: gsm7.plain(shown[name]) for name in ("movie_title", "showtime") if name in shown}
        if "showtime" in event:
            fields["brief_showtime"] = gsm7.plain(conventions.brief(event["showtime"]))
        amounts = {name: shown[name] for name in ("amount", "refund_amount") if name in shown}
        fields |= {name: _amount(conventions, amount) for name, amount in amounts.items()}
        for change in material_changes(event):
            fields[f"new_{change.name}"] = gsm7.plain(brief_of(change.new, conventions)) or "-"
            fields[f"old_{change.name}"] = gsm7.plain(brief_of(change.old, conventions)) or "-"
        return fields | _tickets(event, conventions)


def without_codes(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return `event` with asterisks for the codes of its tickets."""
    tickets = event.get("tickets")
    return {**event, "tickets": [{**ticket, "code": "****"} for ticket in tickets]} if tickets else {**event}


def _tickets(event: Mapping[str, Any], conventions: Conventions) -> dict[str, str]:
    """The codes of tickets, and the link to them; a booking without has its one code in its number."""
    codes = [str(ticket["code"]) for ticket in event.get("tickets") or ()]
    if not codes:
        return {}
    rest = ["..."] if len(codes) > _MOST_CODES else []
    link = url(conventions, event.get("ticket_url"))
    return {"codes": ", ".join([*codes[:_MOST_CODES], *rest]), "ticket_url": link or ""}


def _amount(conventions: Conventions, shown: str) -> str:
    """An amount as the mail shows it, but by the currency's code where GSM-7 lacks its symbol."""
    symbol = get_currency_symbol(conventions.currency, conventions.locale)
    if gsm7.septets(symbol) is None:
        shown = re.sub(rf"\s*{re.escape(symbol)}\s*", f" {conventions.currency} ", shown).strip()
    return gsm7.plain(shown)


def _fitting(text: _Text, fields: dict[str, str]) -> str:
    """The message with as much of the title, and with the links, as one segment takes.

    The codes of tickets give way to their link, and a long date to a short one before the title is left out.
    """
    title, retry = fields.get("movie_title", ""), fields.get("retry_url", "")
    ways_in = [name for name in ("codes", "ticket_url") if fields.get(name)]
    variants = [{name: "" for name in ways_in if name != shown} for shown in ways_in] or [{}]
    candidates = (
        text.fill(
            fields | variant | {"movie_title": shown, "retry_url": link, "showtime": fields.get(showtime, "")}
        )
        for showtime, shown, link, variant in product(
            ("showtime", "brief_showtime"), _titles(title), (retry, ""), variants
        )
    )
    several = fields | variants[-1] | {"movie_title": _shortened(title, _TITLE_IN_SEVERAL), "retry_url": ""}
    return next((found for found in candidates if gsm7.segments(found) == 1), text.fill(several))


def _titles(title: str) -> Iterator[str]:
    """`title`, in Latin letters if it can be, ever shorter."""
    yield title
    romanized = gsm7.plain(title, romanize=True)
    yield romanized
    for longest in range(len(romanized) - 1, _SHORTEST_TITLE - 1, -1):
        yield _shortened(romanized, longest)


def _shortened(title: str, longest: int) -> str:
    # Three dots: GSM-7 has no ellipsis.
    return title if len(title) <= longest else title[: longest - 3].rstrip() + "..."

"""What each event says in a text: the booking's code, amounts and times as in the mail, in one segment.

Only the film's title is shortened, and only the link left out, to stay within a segment. What is too long all
the same (a date in another alphabet, for one) goes out in several.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from babel.numbers import get_currency_symbol

from actors.channels.email.conventions import Conventions
from actors.channels.email.errors import Unpresentable
from actors.channels.email.languages import ENGLISH
from actors.channels.email.view import view
from actors.channels.sms import gsm7
from actors.errors import PermanentFailure

#: Characters of a shortened title. A shorter one says nothing, and is left out instead.
_SHORTEST_TITLE = 8

#: Characters of a title in a text that takes several segments anyway.
_TITLE_IN_SEVERAL = 30


@dataclass(frozen=True)
class _Text:
    """The words of one event type. Fields in braces; a part is there only if its fields are.

    Attributes:
        start: with the booking's code.
        details: follow it, after a colon, separated by commas.
        more: sentences that follow; a link is the last.
    """

    start: str
    details: tuple[str, ...] = ()
    more: tuple[str, ...] = ()

    def fill(self, fields: Mapping[str, str]) -> str:
        """The text with `fields` in it; a blank one is absent.

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

#: Event type → its text.
TEXTS = {
    "booking.confirmed": _Text("{sender}: Booking {booking_id} confirmed", ("{movie_title}", "{showtime}")),
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


class Texts:
    """Writes texts.

    Args:
        sender: who is speaking; a phone shows a bare number.
        default_currency: ISO 4217, for an event that names none.
    """

    def __init__(self, sender: str, default_currency: str) -> None:
        self._sender = gsm7.plain(sender)
        self._default_currency = default_currency

    def write(self, event_type: str, event: Mapping[str, Any]) -> str:
        """The text for one event.

        Raises:
            PermanentFailure: a field is missing, or can't be shown.
        """
        text = TEXTS[event_type]
        try:
            return _fitting(text, self._fields(event))
        except Unpresentable as error:
            raise PermanentFailure(f"no text for {event_type}: the field {error}") from error
        except KeyError as error:
            raise PermanentFailure(f"no text for {event_type}: the field {error} is missing") from error

    def _fields(self, event: Mapping[str, Any]) -> dict[str, str]:
        conventions = Conventions.of(event, self._default_currency)
        shown = view(event, conventions, ENGLISH)
        if shown.get("refund_eligible") is False:
            shown.pop("refund_amount", None)
        if not shown.get("retry_possible"):
            shown.pop("retry_url", None)
        # The code and the link are their readers' to copy: as they are.
        fields = {"sender": self._sender}
        fields |= {name: str(shown[name]) for name in ("booking_id", "retry_url") if name in shown}
        fields |= {
            name: gsm7.plain(shown[name]).strip() for name in ("movie_title", "showtime") if name in shown
        }
        amounts = {name: shown[name] for name in ("amount", "refund_amount") if name in shown}
        return fields | {name: _amount(conventions, amount) for name, amount in amounts.items()}


def _amount(conventions: Conventions, shown: str) -> str:
    """An amount as the mail shows it, but by the currency's code where GSM-7 lacks its symbol."""
    symbol = get_currency_symbol(conventions.currency, conventions.locale)
    if gsm7.septets(symbol) is None:
        shown = re.sub(rf"\s*{re.escape(symbol)}\s*", f" {conventions.currency} ", shown).strip()
    return gsm7.plain(shown)


def _fitting(text: _Text, fields: dict[str, str]) -> str:
    """The text with as much of title and link as one segment takes."""
    title = fields.get("movie_title", "")
    texts = (
        text.fill(fields | {"movie_title": shown, "retry_url": link})
        for link in (fields.get("retry_url", ""), "")
        for shown in _titles(title)
    )
    in_several = fields | {"movie_title": _shortened(title, _TITLE_IN_SEVERAL), "retry_url": ""}
    return next(filter(gsm7.one_segment, texts), text.fill(in_several))


def _titles(title: str) -> Iterator[str]:
    """`title`, ever shorter."""
    yield title
    for longest in range(len(title) - 1, _SHORTEST_TITLE - 1, -1):
        yield _shortened(title, longest)
    yield ""


def _shortened(title: str, longest: int) -> str:
    # Three dots: GSM-7 has no ellipsis.
    return title if len(title) <= longest else title[: longest - 3].rstrip() + "..."

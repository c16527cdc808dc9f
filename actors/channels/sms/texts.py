"""Write the SMS of each event, in one segment if possible.

To fit into one segment, only the movie title is shortened, and only links are left out. Longer messages (such
as those with a date in another script) use several segments. All languages share the code, and mails and SMS
share the catalogs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

from babel.numbers import get_currency_symbol

from actors.channels.email.conventions import Conventions
from actors.channels.email.errors import Unpresentable
from actors.channels.email.presenters import url
from actors.channels.email.view import brief_of, view
from actors.channels.sms import gsm7
from actors.errors import PermanentFailure
from app.events.catalog import REMINDER
from app.events.changes import material_changes
from app.languages import ENGLISH, Language, Languages

#: Minimum characters of a shortened title. A title that must be shorter is omitted.
_MIN_TITLE_LENGTH = 8

#: Maximum characters of a title in a message of several segments.
_TITLE_IN_SEVERAL = 30

#: Segments of a non-GSM-7 message above which its title is shortened, and its link omitted.
_MAX_UCS2_SEGMENTS = 2

#: RIGHT-TO-LEFT MARK.
_MARKS = dict.fromkeys(map(ord, "\u200f"))

#: Maximum number of ticket codes in a message; the link shows the others.
_MAX_CODES = 10


#: Ends of the first sentence.
_WHOLE, _WHOLE_WITH_DETAILS = "{start}.", "{start}: {details}."


@dataclass(frozen=True)
class _Text:
    """The sentences of one event type, with fields in braces. A sentence without its fields is left out.

    Attributes:
        start: first sentence, with the booking's code.
        details: parts that follow it after a colon.
        more: sentences that follow.
        comma: separator of the details.
        whole: the first sentence without details; `whole_with_details` has them.
    """

    start: str
    details: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    comma: str = ", "
    whole: str = _WHOLE
    whole_with_details: str = _WHOLE_WITH_DETAILS

    @property
    def in_gsm7(self) -> bool:
        """Return whether GSM-7 has its letters, apart from accents."""
        return gsm7.septets(gsm7.plain(self.start)) is not None

    def in_language(self, language: Language) -> _Text:
        """Return the sentences in another language, without accents if GSM-7 lacks only those."""
        said = language.gettext
        text = _Text(
            said(self.start),
            self.details,
            tuple(map(said, self.more)),
            language.comma,
            said(self.whole),
            said(self.whole_with_details),
        )
        if not text.in_gsm7:
            return text
        return replace(
            text,
            start=gsm7.plain(text.start),
            more=tuple(map(gsm7.plain, text.more)),
            whole=gsm7.plain(text.whole),
            whole_with_details=gsm7.plain(text.whole_with_details),
        )

    def fill(self, fields: Mapping[str, str]) -> str:
        """Return the message filled with `fields`. Blank fields count as absent.

        Raises:
            KeyError: a field that `start` requires is absent.
        """
        known = {name: value for name, value in fields.items() if value}
        details = self.comma.join(_possible(self.details, known))
        whole = self.whole_with_details if details else self.whole
        first = whole.format(start=self.start.format_map(known), details=details)
        # No space follows an ideographic full stop.
        filled = " ".join([first, *_possible(self.more, known)]).replace("\u3002 ", "\u3002")
        # A shortened title already ends with dots.
        return filled.replace("....", "...")


def _possible(parts: Iterable[str], fields: Mapping[str, str]) -> Iterator[str]:
    for part in parts:
        try:
            yield part.format_map(fields)
        except KeyError:
            continue


_REFUND = _Text("{sender}: Refund of {refund_amount} for booking {booking_id} is on its way")
_TICKETS = ("Codes: {codes}.", "Tickets: {ticket_url}")

#: Event type → its text.
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
    REMINDER: _Text("{sender}: Reminder of booking {booking_id}", ("{showtime}", "{movie_title}"), _TICKETS),
    "booking.cancelled": _Text(
        "{sender}: Booking {booking_id} is canceled",
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
    """Yield every English sentence, as keys of the translation catalogs."""
    yield from (_WHOLE, _WHOLE_WITH_DETAILS, ENGLISH.comma)
    for text in TEXTS.values():
        yield from (text.start, *text.more)


class Texts:
    """Writes SMS.

    Args:
        sender: name of the sender, because a phone shows only a number.
        default_currency: ISO 4217 code for events without one.
        default_zone: IANA zone for times without one; "" to show them unchanged.
    """

    def __init__(self, sender: str, default_currency: str, default_zone: str = "") -> None:
        self._sender = gsm7.plain(sender)
        self._default_currency = default_currency
        self._default_zone = default_zone
        self._languages = Languages()

    def write(self, event_type: str, event: Mapping[str, Any], *, with_codes: bool = False) -> str:
        """Write the message for one event.

        Args:
            event_type: type of the event.
            event: a valid event.
            with_codes: whether to include all ticket codes, with any number of segments.

        Raises:
            PermanentFailure: a field is missing or invalid.
        """
        try:
            requested = Conventions.of(event, self._default_currency, self._default_zone)
            language, locale = self._languages.of(requested.locale)
            conventions = replace(requested, locale=locale)
            text = TEXTS[event_type].in_language(language)
            fields = self._fields(event, conventions, language, text.in_gsm7)
            return _fitting(text, fields, with_codes=with_codes)
        except Unpresentable as error:
            raise PermanentFailure(f"the SMS for {event_type} can't be written: the field {error}") from error
        except KeyError as error:
            raise PermanentFailure(
                f"the SMS for {event_type} can't be written: the field {error} is missing"
            ) from error

    def _fields(
        self, event: Mapping[str, Any], conventions: Conventions, language: Language, in_gsm7: bool
    ) -> dict[str, str]:
        plain = gsm7.plain if in_gsm7 else _without_marks
        shown = view(event, conventions, language)
        if shown.get("refund_eligible") is False:
            shown.pop("refund_amount", None)
        if not shown.get("retry_possible"):
            shown.pop("retry_url", None)
        # Codes and links are copied by readers, so they are not changed.
        fields = {"sender": self._sender}
        fields |= {name: str(shown[name]) for name in ("booking_id", "retry_url") if name in shown}
        fields |= {name: plain(shown[name]) for name in ("movie_title", "showtime") if name in shown}
        if "showtime" in event:
            fields["brief_showtime"] = plain(conventions.brief(event["showtime"]))
        amounts = {name: shown[name] for name in ("amount", "refund_amount") if name in shown}
        amount_of = partial(_amount, conventions) if in_gsm7 else _without_marks
        fields |= {name: amount_of(amount) for name, amount in amounts.items()}
        for change in material_changes(event):
            fields[f"new_{change.name}"] = plain(brief_of(change.new, conventions, language)) or "-"
            fields[f"old_{change.name}"] = plain(brief_of(change.old, conventions, language)) or "-"
        return fields | _tickets(event, conventions)


def without_codes(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return `event` with its ticket codes masked by asterisks."""
    tickets = event.get("tickets")
    return {**event, "tickets": [{**ticket, "code": "****"} for ticket in tickets]} if tickets else {**event}


def _tickets(event: Mapping[str, Any], conventions: Conventions) -> dict[str, str]:
    """Return the ticket codes and their link. A booking without tickets uses its id as code."""
    codes = [str(ticket["code"]) for ticket in event.get("tickets") or ()]
    if not codes:
        return {}
    rest = ["..."] if len(codes) > _MAX_CODES else []
    link = url(conventions, event.get("ticket_url"))
    return {"codes": ", ".join([*codes[:_MAX_CODES], *rest]), "ticket_url": link or ""}


def _without_marks(text: str) -> str:
    """Return `text` without CLDR's marks around numbers. SMS have one mark at the start."""
    return text.translate(_MARKS)


def _amount(conventions: Conventions, shown: str) -> str:
    """Format an amount as in mails, but with the currency code if GSM-7 lacks its symbol."""
    symbol = get_currency_symbol(conventions.currency, conventions.locale)
    if gsm7.septets(symbol) is None:
        shown = re.sub(rf"\s*{re.escape(symbol)}\s*", f" {conventions.currency} ", shown).strip()
    return gsm7.plain(shown)


def _fitting(text: _Text, fields: dict[str, str], *, with_codes: bool) -> str:
    """Return the message with as much of the title and links as fit into one segment (two in UCS-2).

    A long date is replaced by a short one first, then ticket codes by their link, and the title is shortened.
    In UCS-2, which holds less than half, the date is always short.
    """
    title, retry = fields.get("movie_title", ""), fields.get("retry_url", "")
    ways_in = [name for name in ("codes", "ticket_url") if fields.get(name)]
    variants = [{name: "" for name in ways_in if name != shown} for shown in ways_in] or [{}]
    if with_codes:
        # Only with the link, if there are more codes than fit into a message.
        variants = [{}] if fields.get("codes", "").endswith("...") else variants[:1]
    showtimes = ("showtime", "brief_showtime") if text.in_gsm7 else ("brief_showtime",)
    candidates = (
        text.fill(
            fields | variant | {"movie_title": shown, "retry_url": link, "showtime": fields.get(showtime, "")}
        )
        for shown, link, variant, showtime in product(
            _titles(title, romanize=text.in_gsm7), (retry, ""), variants, showtimes
        )
    )
    several = fields | variants[-1] | {"movie_title": _shortened(title, _TITLE_IN_SEVERAL), "retry_url": ""}
    several["showtime"] = fields.get(showtimes[-1], "")
    max_segments = 1 if text.in_gsm7 else _MAX_UCS2_SEGMENTS
    return next((found for found in candidates if gsm7.segments(found) <= max_segments), text.fill(several))


def _titles(title: str, *, romanize: bool) -> Iterator[str]:
    """Yield `title`, transliterated if possible and allowed, shortened step by step."""
    yield title
    romanized = gsm7.plain(title, romanize=True) if romanize else title
    yield romanized
    for longest in range(len(romanized) - 1, _MIN_TITLE_LENGTH - 1, -1):
        yield _shortened(romanized, longest)


def _shortened(title: str, longest: int) -> str:
    # Three dots, because GSM-7 has no ellipsis.
    return title if len(title) <= longest else title[: longest - 3].rstrip() + "..."

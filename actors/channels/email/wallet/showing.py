"""The content of passes in both wallets, from the fields of the mail's template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from actors.channels.email.conventions import Conventions
from actors.channels.email.invitation import end_of


@dataclass(frozen=True)
class Style:
    """How passes look.

    Attributes:
        name: name of the brand.
        color: `#rrggbb`, dark enough for white text.
        contact: email address for questions.
        logo_url: https, or "".
    """

    name: str
    color: str
    contact: str
    logo_url: str = ""


@dataclass(frozen=True)
class Ticket:
    """One pass of a booking.

    Attributes:
        number: from 1; stays the same when the booking is updated.
        seat: one seat, or all seats if the booking has one code.
        code: entry code.
    """

    number: int
    seat: str
    code: str
    category: str = ""
    holder: str = ""


@dataclass(frozen=True)
class Showing:
    """A booking, formatted for passes.

    Attributes:
        showtime: formatted showtime.
        starts, ends: set if the showtime is an exact time.
        language: BCP 47 tag of the text.
    """

    booking_id: str
    film: str
    showtime: str
    starts: datetime | None
    ends: datetime | None
    cinema: str
    address: str
    screen: str
    language: str
    tickets: tuple[Ticket, ...]


def showing(
    fields: Mapping[str, Any], event: Mapping[str, Any], conventions: Conventions, language: str
) -> Showing:
    """Return the content of a booking's passes.

    Args:
        fields: the fields from `view`; `tickets` has one entry for each pass.
        event: the unchanged event.
        conventions: the reader's conventions.
        language: language of `fields`.
    """
    starts = conventions.instant(event.get("showtime"))
    try:
        ends = end_of(event, starts) if starts else None
    except OverflowError:
        starts = ends = None
    booking_id = fields["booking_id"]
    tickets = [
        Ticket(number, each["seat"], each["code"], each.get("category") or "", each.get("holder_name") or "")
        for number, each in enumerate(fields.get("tickets") or [], 1)
    ] or [Ticket(1, ", ".join(fields.get("seats") or []), booking_id)]
    return Showing(
        booking_id=booking_id,
        film=fields.get("movie_title") or booking_id,
        showtime=fields.get("showtime") or "",
        starts=starts,
        ends=ends,
        cinema=fields.get("cinema_name") or "",
        address=fields.get("cinema_address") or "",
        screen=fields.get("screen") or "",
        language=language,
        tickets=tuple(tickets),
    )

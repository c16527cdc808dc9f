"""A booking as schema.org's EventReservation, which email clients turn into a card.

https://developers.google.com/workspace/gmail/markup/reference/event-reservation
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from actors.channels.email.conventions import Conventions
from actors.channels.email.presenters import person, text, url
from app.clock import from_iso
from app.text import one_line

#: Template → reservationStatus.
_STATUS = {
    "booking_confirmation": "https://schema.org/ReservationConfirmed",
    "booking_update": "https://schema.org/ReservationConfirmed",
    "booking_reminder": "https://schema.org/ReservationConfirmed",
    "booking_cancellation": "https://schema.org/ReservationCancelled",
}

_MAX_LENGTH = 300


def reservation(template: str, event: Mapping[str, Any], conventions: Conventions) -> Markup | None:
    """Return the JSON-LD for a mail, safe inside a script element; None if data is missing.

    Args:
        template: template of the mail.
        event: the unchanged event.
        conventions: the reader's conventions, with the zone.
    """
    start = conventions.instant(event.get("showtime"))
    # Mail programs show these values, so they must not become links either.
    film, cinema, address = (
        text(conventions, event.get(name) or "") for name in ("movie_title", "cinema_name", "cinema_address")
    )
    guest = person(conventions, event.get("user_name") or "")
    if template not in _STATUS or start is None or not (film and cinema and guest):
        return None
    place: dict[str, Any] = {"@type": "MovieTheater", "name": cinema}
    if address:
        place["address"] = address
    body: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "EventReservation",
        "reservationNumber": _text(event["booking_id"]),
        "reservationStatus": _STATUS[template],
        "underName": {"@type": "Person", "name": guest},
        "reservationFor": {
            "@type": "ScreeningEvent",
            "name": film,
            "startDate": start.isoformat(),
            "location": place,
        },
    }
    if template == "booking_update" and (changed := from_iso(event.get("timestamp"))):
        body["modifiedTime"] = changed.isoformat()
    if ticket := url(conventions, event.get("ticket_url")):
        body["url"] = ticket
    json_ld = json.dumps(body, ensure_ascii=True, separators=(",", ":"))
    # A movie title may contain text that closes the script element or is parsed as markup.
    for char in "<>&'":
        json_ld = json_ld.replace(char, f"\\u{ord(char):04x}")
    return Markup(json_ld)  # noqa: S704 - nothing in it can end the element


def _text(value: object) -> str:
    return "" if value is None else one_line(str(value), _MAX_LENGTH)

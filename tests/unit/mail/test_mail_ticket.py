"""The parts of a booking's mail: the entrance code, the calendar file, and the reservation."""

import json
import re
import struct
from datetime import datetime, timedelta
from typing import Any

import pytest
from icalendar import Calendar

from actors.channels.email.qr import qr_png
from actors.channels.email.render import Brand, Rendered, Renderer
from actors.channels.email.samples import sample
from app.languages import Languages
from app.settings.contrast import contrast


def rendered(renderer: Renderer, template: str, **changes: Any) -> Rendered:
    return renderer.render(template, sample(template) | changes)


def entry(mail: Rendered) -> Any:
    assert mail.invitation
    calendar = Calendar.from_ical(mail.invitation.ics)
    assert calendar["METHOD"] == mail.invitation.method
    (event,) = calendar.walk("VEVENT")
    return event


def json_ld(mail: Rendered) -> dict[str, Any] | None:
    found = re.search(r'<script type="application/ld\+json">(.*?)</script>', mail.html, re.DOTALL)
    body: dict[str, Any] | None = json.loads(found[1]) if found else None
    return body


@pytest.mark.parametrize("code", ["B", "BOOK-789012", "BOOK-" + "7" * 250, "Büchung 12 😀"])
def test_the_qr_code_is_large_enough_to_scan(code: str) -> None:
    png, size = qr_png(code)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (size, size)
    assert 200 <= size <= 420
    assert len(png) < 4_000


@pytest.mark.parametrize("language", Languages().all)
@pytest.mark.parametrize("template", ["booking_confirmation", "booking_update", "booking_reminder"])
def test_ten_tickets_with_long_labels_are_below_60_kb_and_a_link_has_the_others(
    renderer: Renderer, template: str, language: str
) -> None:
    seats = [f"Balcony, row {number}" for number in range(1, 13)]
    codes = [f"{number:02}-{'8KQ2-' * 8}" for number in range(1, 13)]
    labels = {"category": "Wheelchair space with companion", "holder_name": "Maximiliane Featherstonehaugh"}
    tickets = [labels | {"seat": seat, "code": code} for seat, code in zip(seats, codes, strict=True)]
    mail = rendered(renderer, template, seats=seats, tickets=tickets, locale=language)
    assert len(mail.html.encode()) < 60_000
    assert len(mail.images) == 10
    for part in (mail.text, mail.html):
        assert [code in part for code in codes] == [True] * 10 + [False] * 2
        assert "https://movieapp.example.com/tickets/BOOK-789012" in part


def test_the_code_is_inline_and_printed_below(renderer: Renderer) -> None:
    mail = rendered(renderer, "booking_confirmation")
    assert mail.images == {"qr": qr_png("BOOK-789012")[0]}
    assert re.search(r'<img src="cid:qr" width="(\d+)" height="\1" alt="BOOK-789012"', mail.html)
    assert mail.html.index("cid:qr") < mail.html.index(">BOOK-789012<")
    assert not rendered(renderer, "booking_cancellation").images


def test_a_calendar_entry_starts_at_the_instant_of_the_showtime(renderer: Renderer) -> None:
    mail = rendered(renderer, "booking_confirmation")
    event = entry(mail)
    assert mail.invitation
    assert b"DTSTART:20261216T010000Z\r\n" in mail.invitation.ics
    assert b"VTIMEZONE" not in mail.invitation.ics
    assert event["DTEND"].dt - event["DTSTART"].dt == timedelta(minutes=104)
    assert (event["SUMMARY"], event["STATUS"]) == ("The Third Man", "CONFIRMED")
    assert event["LOCATION"] == "Grand Palace Cinema, 12 Canal Street, New York, NY 10013"


@pytest.mark.parametrize(
    ("changes", "minutes"),
    [
        ({}, 104),
        ({"duration_minutes": None}, 120),
        ({"duration_minutes": 0}, 120),
        ({"duration_minutes": 90.0}, 90),
    ],
)
def test_a_calendar_entry_always_has_an_end(
    renderer: Renderer, changes: dict[str, Any], minutes: int
) -> None:
    event = entry(rendered(renderer, "booking_confirmation", **changes))
    assert event["DTEND"].dt - event["DTSTART"].dt == timedelta(minutes=minutes)


def test_a_show_at_the_end_of_the_calendar_has_no_calendar_file(renderer: Renderer) -> None:
    mail = rendered(renderer, "booking_confirmation", showtime="9999-12-31T23:00:00Z", timezone=None)
    assert mail.invitation is None


@pytest.mark.parametrize(
    ("showtime", "zone", "start", "shown"),
    [
        # New York's clocks skip from 2:00 to 3:00, and show 1:00 to 2:00 twice.
        (
            "2036-03-09T02:30",
            "America/New_York",
            "2036-03-09T07:30:00+00:00",
            "3:30 AM Eastern Daylight",
        ),
        (
            "2036-11-02T01:30",
            "America/New_York",
            "2036-11-02T05:30:00+00:00",
            "1:30 AM Eastern Daylight",
        ),
        (
            "2036-11-02T01:30-05:00",
            "America/New_York",
            "2036-11-02T06:30:00+00:00",
            "1:30 AM Eastern Stand",
        ),
        # Morocco goes back an hour during Ramadan.
        ("2027-02-20T20:00", "Africa/Casablanca", "2027-02-20T20:00:00+00:00", "8:00 PM"),
        ("2027-04-20T20:00", "Africa/Casablanca", "2027-04-20T19:00:00+00:00", "8:00 PM"),
        (
            "2036-12-15T20:00:00",
            "Eastern Standard Time",
            "2036-12-16T01:00:00+00:00",
            "8:00 PM Eastern Standard Time",
        ),
        ("2036-12-15T20:00:00", "us/eastern", "2036-12-16T01:00:00+00:00", "8:00 PM Eastern Standard Time"),
        (
            "2036-12-15T20:00:00-05:00[America/New_York]",
            None,
            "2036-12-16T01:00:00+00:00",
            "8:00 PM Eastern Standard",
        ),
        # An unknown zone, and an offset that needs none.
        ("2036-12-15T20:00:00-05:00", "Mars/Base", "2036-12-16T01:00:00+00:00", "8:00 PM UTC-05:00"),
    ],
)
def test_calendar_and_mail_show_the_same_instant(
    showtime: str, zone: str | None, start: str, shown: str
) -> None:
    renderer = Renderer(Brand("MovieApp", "t@example.com"), "USD", "Europe/Vienna")
    mail = rendered(renderer, "booking_confirmation", showtime=showtime, timezone=zone)
    assert entry(mail)["DTSTART"].dt == datetime.fromisoformat(start)
    assert shown in mail.text


def test_an_unknown_zone_is_not_replaced_by_the_default() -> None:
    renderer = Renderer(Brand("MovieApp", "t@example.com"), "USD", "Europe/Vienna")
    mail = rendered(renderer, "booking_confirmation", showtime="2036-12-15T20:00:00", timezone="Mars/Base")
    assert mail.invitation is None
    assert json_ld(mail) is None
    assert "Monday, December 15, 2036, 8:00 PM\n" in mail.text


def test_calendars_apply_an_update_by_organizer_attendee_and_sequence(renderer: Renderer) -> None:
    confirmed = rendered(renderer, "booking_confirmation")
    cancelled = rendered(renderer, "booking_cancellation")
    assert confirmed.invitation
    assert cancelled.invitation
    assert (confirmed.invitation.method, cancelled.invitation.method) == ("REQUEST", "CANCEL")
    first, last = entry(confirmed), entry(cancelled)
    for same in ("UID", "ORGANIZER", "ATTENDEE", "DTSTART"):
        assert first[same] == last[same]
    assert first["ATTENDEE"] == "mailto:jane.doe@example.com"
    # No reply is requested.
    assert (first["ATTENDEE"].params["PARTSTAT"], first["ATTENDEE"].params["RSVP"]) == ("ACCEPTED", "FALSE")
    assert first["SEQUENCE"] < last["SEQUENCE"]
    assert last["STATUS"] == "CANCELLED"
    at_once = rendered(
        renderer, "booking_cancellation", timestamp=sample("booking_confirmation")["timestamp"]
    )
    assert first["SEQUENCE"] < entry(at_once)["SEQUENCE"]
    other = rendered(renderer, "booking_confirmation", booking_id="OTHER")
    assert entry(other)["UID"] != first["UID"]


def test_without_a_recipient_there_is_no_calendar_file(renderer: Renderer) -> None:
    assert rendered(renderer, "booking_confirmation", user_email=None).invitation is None


def test_every_copy_of_a_mail_has_the_same_calendar_file(renderer: Renderer) -> None:
    first, second = (rendered(renderer, "booking_confirmation").invitation for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("showtime", "zone", "start"),
    [
        ("2026-12-15T20:00:00+05:30", None, "2026-12-15T14:30:00+00:00"),
        ("2026-12-15T20:00:00", "Europe/Berlin", "2026-12-15T20:00:00+01:00"),
        ("2026-12-15T20:00:00", None, "2026-12-15T20:00:00+01:00"),
        ("2024-12-15 8:00 PM", None, None),
        ("2026-12-15", None, None),
        ("tonight", "Europe/Berlin", None),
    ],
)
def test_only_an_exact_time_gets_a_calendar_entry(showtime: str, zone: str | None, start: str | None) -> None:
    renderer = Renderer(Brand("MovieApp", "t@example.com"), "USD", "Europe/Vienna")
    mail = rendered(renderer, "booking_confirmation", showtime=showtime, timezone=zone)
    if start is None:
        assert mail.invitation is None
        assert json_ld(mail) is None
        assert showtime in mail.text or showtime == "2026-12-15"
    else:
        assert entry(mail)["DTSTART"].dt == datetime.fromisoformat(start)
        body = json_ld(mail)
        assert body
        assert datetime.fromisoformat(body["reservationFor"]["startDate"]) == datetime.fromisoformat(start)


def test_a_time_without_a_zone_gets_no_calendar_entry(renderer: Renderer) -> None:
    mail = rendered(renderer, "booking_confirmation", showtime="2026-12-15T20:00:00", timezone=None)
    assert mail.invitation is None


@pytest.mark.parametrize("template", ["payment_success", "payment_failed", "payment_refund"])
def test_a_mail_about_money_has_neither_code_nor_calendar_file(renderer: Renderer, template: str) -> None:
    mail = rendered(renderer, template)
    assert (mail.invitation, mail.images, json_ld(mail)) == (None, {}, None)


def test_the_mail_contains_a_schema_org_reservation(renderer: Renderer) -> None:
    body = json_ld(rendered(renderer, "booking_confirmation"))
    assert body == {
        "@context": "https://schema.org",
        "@type": "EventReservation",
        "reservationNumber": "BOOK-789012",
        "reservationStatus": "https://schema.org/ReservationConfirmed",
        "underName": {"@type": "Person", "name": "Jane Doe"},
        "reservationFor": {
            "@type": "ScreeningEvent",
            "name": "The Third Man",
            "startDate": "2026-12-15T20:00:00-05:00",
            "location": {
                "@type": "MovieTheater",
                "name": "Grand Palace Cinema",
                "address": "12 Canal Street, New York, NY 10013",
            },
        },
        "url": "https://movieapp.example.com/tickets/BOOK-789012",
    }
    cancelled = json_ld(rendered(renderer, "booking_cancellation"))
    assert cancelled
    assert cancelled["reservationStatus"] == "https://schema.org/ReservationCancelled"
    assert json_ld(rendered(renderer, "booking_confirmation", cinema_name=None)) is None


def test_a_title_cannot_close_the_script_element(renderer: Renderer) -> None:
    title = "</script><script>alert(1)</script>&'\""
    mail = rendered(renderer, "booking_confirmation", movie_title=title)
    assert mail.html.count("<script") == 1
    body = json_ld(mail)
    assert body
    assert body["reservationFor"]["name"] == title


def test_a_poster_is_shown_from_https_only(renderer: Renderer) -> None:
    poster = "https://cdn.example.com/p.jpg"
    assert f'src="{poster}"' in rendered(renderer, "booking_confirmation", poster_url=poster).html
    for other in ("http://cdn.example.com/p.jpg", "javascript:alert(1)", "data:image/png;base64,AA"):
        assert other not in rendered(renderer, "booking_confirmation", poster_url=other).html


def test_brand_settings_are_shown() -> None:
    brand = Brand(
        "Roxy",
        "t@roxy.example.com",
        color="#0b6b3a",
        logo_url="https://roxy.example.com/logo.png",
        postal_address="1 Main Street, Springfield",
    )
    mail = rendered(Renderer(brand, "USD"), "payment_failed")
    assert 'src="https://roxy.example.com/logo.png"' in mail.html
    assert 'alt="Roxy"' in mail.html
    assert "#0b6b3a" in mail.html
    assert "#3f3d94" not in re.sub(r"<style.*?</style>", "", mail.html, flags=re.DOTALL)
    assert "Roxy, 1 Main Street, Springfield" in mail.text


def test_contrast_follows_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)

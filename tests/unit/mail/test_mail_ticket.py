"""What comes with a booking's mail: the code for the door, the calendar file, the reservation."""

import json
import re
import struct
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from icalendar import Calendar

from actors.channels.email.qr import qr_png
from actors.channels.email.render import Brand, Rendered, Renderer
from actors.channels.email.samples import sample
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
def test_the_code_is_a_picture_large_enough_to_scan(code: str) -> None:
    png, size = qr_png(code)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (size, size)
    assert 200 <= size <= 420
    assert len(png) < 4_000


def test_the_code_is_in_the_page_and_printed_beneath(renderer: Renderer) -> None:
    mail = rendered(renderer, "booking_confirmation")
    assert mail.images == {"qr": qr_png("BOOK-789012")[0]}
    assert re.search(r'<img src="cid:qr" width="(\d+)" height="\1" alt="BOOK-789012"', mail.html)
    assert mail.html.index("cid:qr") < mail.html.index(">BOOK-789012<")
    assert not rendered(renderer, "booking_cancellation").images


def test_a_showing_goes_into_the_calendar_in_its_own_zone(renderer: Renderer) -> None:
    mail = rendered(renderer, "booking_confirmation")
    event = entry(mail)
    start = event["DTSTART"].dt
    assert start == datetime(2026, 12, 15, 20, tzinfo=ZoneInfo("America/New_York"))
    assert event["DTSTART"].params["TZID"] == "America/New_York"
    assert event["DTEND"].dt - start == timedelta(minutes=104)
    assert (event["SUMMARY"], event["STATUS"]) == ("The Third Man", "CONFIRMED")
    assert event["LOCATION"] == "Grand Palace Cinema, 12 Canal Street, New York, NY 10013"
    assert b"BEGIN:VTIMEZONE\r\nTZID:America/New_York" in (mail.invitation.ics if mail.invitation else b"")


def test_a_cancellation_takes_the_same_entry_out_again(renderer: Renderer) -> None:
    confirmed = rendered(renderer, "booking_confirmation")
    cancelled = rendered(renderer, "booking_cancellation")
    assert confirmed.invitation
    assert cancelled.invitation
    assert (confirmed.invitation.method, cancelled.invitation.method) == ("PUBLISH", "CANCEL")
    assert entry(confirmed)["UID"] == entry(cancelled)["UID"]
    assert entry(confirmed)["SEQUENCE"] < entry(cancelled)["SEQUENCE"]
    assert entry(cancelled)["STATUS"] == "CANCELLED"
    same_minute = rendered(
        renderer, "booking_cancellation", timestamp=sample("booking_confirmation")["timestamp"]
    )
    assert entry(confirmed)["SEQUENCE"] < entry(same_minute)["SEQUENCE"]
    assert (
        entry(rendered(renderer, "booking_confirmation", booking_id="OTHER"))["UID"]
        != entry(confirmed)["UID"]
    )


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
def test_only_a_moment_goes_into_a_calendar(showtime: str, zone: str | None, start: str | None) -> None:
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


def test_a_time_without_any_zone_is_no_moment(renderer: Renderer) -> None:
    mail = rendered(renderer, "booking_confirmation", showtime="2026-12-15T20:00:00", timezone=None)
    assert mail.invitation is None


@pytest.mark.parametrize("template", ["payment_success", "payment_failed", "payment_refund"])
def test_a_mail_about_money_has_neither(renderer: Renderer, template: str) -> None:
    mail = rendered(renderer, template)
    assert (mail.invitation, mail.images, json_ld(mail)) == (None, {}, None)


def test_mail_programs_are_told_the_reservation(renderer: Renderer) -> None:
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


def test_a_title_can_not_close_the_script(renderer: Renderer) -> None:
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


def test_the_brand_is_shown() -> None:
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


def test_contrast_is_wcags() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)

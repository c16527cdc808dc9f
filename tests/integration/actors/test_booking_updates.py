"""Changed bookings: which changes are announced, and in which order states are sent."""

from __future__ import annotations

from typing import Any

import pytest
from icalendar import Calendar

from actors import deliveries
from app.channels import ChannelName
from app.events.samples import sample
from app.models import Notification
from tests.support.actors import confirmation, record_delivery
from tests.support.mail import MailSink

NOON = "2026-12-03T12:00:00Z"


def update(event_id: str, timestamp: str = NOON, **changes: Any) -> dict[str, Any]:
    event = sample("booking.updated") | {"booking_id": confirmation()["booking_id"], "user_phone": None}
    return event | {"event_id": event_id, "timestamp": timestamp} | changes


def outcome(event_id: str) -> tuple[str, str | None]:
    record = Notification.objects.get(event_id=event_id, notification_type="email")
    return record.status, record.error_message


def test_an_update_is_mailed_with_the_same_uid_and_a_higher_sequence(
    make_stub: Any, mail_sink: MailSink
) -> None:
    stub = make_stub()
    stub.publish(confirmation(timestamp="2026-12-03T11:59:59.900Z"))
    stub.publish(update("evt_update", "2026-12-03T12:00:00Z"))
    stub.publish(
        sample("booking.cancelled")
        | {"booking_id": confirmation()["booking_id"], "timestamp": "2026-12-03T12:00:00Z"}
        | {"showtime": "2036-12-15T20:00:00-05:00"}
    )
    mails = mail_sink.mails
    assert [mail["Subject"].partition(":")[0] for mail in mails] == [
        "Booking confirmed",
        "Booking changed",
        "Booking canceled",
    ]
    entries: list[Any] = [
        Calendar.from_ical(next(mail.iter_attachments()).get_content()).walk("VEVENT")[0] for mail in mails
    ]
    assert len({entry["UID"] for entry in entries}) == 1
    assert len({entry["ATTENDEE"] for entry in entries}) == 1
    assert entries[0]["SEQUENCE"] < entries[1]["SEQUENCE"] < entries[2]["SEQUENCE"]


@pytest.mark.parametrize(
    "previous",
    [
        {},
        {"movie_title": "The 3rd Man"},
        {"total_amount": 20},
        {"seats": ["B6", "B5"]},
        {"showtime": "2036-12-16T01:00:00Z"},
        {"screen": "Screen 4"},
    ],
)
def test_an_update_that_changes_nothing_material_is_skipped(
    make_stub: Any, mail_sink: MailSink, previous: dict[str, Any]
) -> None:
    make_stub().publish(update("evt_update", previous=previous))
    assert outcome("evt_update") == ("skipped", "nothing changed that the customer must know")
    assert mail_sink.mails == []


@pytest.mark.parametrize(
    "previous",
    [
        {"showtime": "2036-12-15T19:00:00-05:00"},
        {"showtime": "8 PM"},
        {"seats": ["B5"]},
        {"screen": ""},
        {"cinema_name": "Roxy"},
        {"cinema_address": "13 Canal Street"},
    ],
)
def test_a_material_change_is_mailed(make_stub: Any, mail_sink: MailSink, previous: dict[str, Any]) -> None:
    make_stub().publish(update("evt_update", previous=previous))
    assert outcome("evt_update") == ("sent", None)


def test_an_update_after_the_showtime_is_skipped(make_stub: Any) -> None:
    make_stub().publish(update("evt_update", showtime="2020-01-01T20:00:00Z"))
    assert outcome("evt_update") == ("skipped", "the showtime has passed")


def test_an_update_after_the_cancellation_is_skipped_until_the_booking_is_confirmed_again(
    make_stub: Any,
) -> None:
    stub = make_stub()
    cancelled = sample("booking.cancelled") | {"booking_id": confirmation()["booking_id"]}
    stub.publish(cancelled | {"timestamp": "2026-12-03T10:00:00Z"})
    stub.publish(update("evt_late", "2026-12-03T11:00:00Z"))
    assert outcome("evt_late") == ("skipped", "the booking's cancellation was sent before")
    stub.publish(confirmation(timestamp="2026-12-03T12:00:00Z"))
    stub.publish(update("evt_new", "2026-12-03T13:00:00Z"))
    assert outcome("evt_new") == ("sent", None)


def test_an_older_update_that_arrives_later_does_not_restore_its_state(
    make_stub: Any, mail_sink: MailSink
) -> None:
    stub = make_stub()
    stub.publish(update("evt_second", "2026-12-03T12:00:01Z"))
    stub.publish(update("evt_first", "2026-12-03T12:00:00Z"))
    assert outcome("evt_first") == ("skipped", "a later state of the booking was sent before")
    assert len(mail_sink.mails) == 1


def test_a_confirmation_replayed_after_an_update_does_not_restore_its_state(
    make_stub: Any, mail_sink: MailSink
) -> None:
    stub = make_stub()
    stub.publish(update("evt_update", "2026-12-03T12:00:00Z"))
    stub.publish(confirmation(timestamp="2026-12-03T11:00:00Z"))
    record = Notification.objects.get(event_type="booking.confirmed")
    assert outcome(record.event_id) == ("skipped", "a later state of the booking was sent before")
    assert len(mail_sink.mails) == 1


OLD, NEW = ([{"seat": "B5", "code": code}, {"seat": "B6", "code": "B6"}] for code in ("OLD-5", "NEW-5"))


def codes_only(timestamp: str = "2026-12-03T13:00:00Z", **changes: Any) -> dict[str, Any]:
    """Return an update that is not mailed. It has the same showtime as the other updates."""
    return update("evt_codes", timestamp, tickets=NEW, previous={}) | changes


def mailed_text(make_stub: Any, mail_sink: MailSink, held: Notification, later: dict[str, Any]) -> str:
    """Record a later event while a mail is held, release the mail, and return its text."""
    stub = make_stub()
    stub.publish(later)
    assert mail_sink.mails == []
    stored = held.event_data
    stub.send_email(held.id)
    held.reload()
    assert (held.status, held.event_data) == ("sent", stored)
    (mail,) = mail_sink.mails
    return str(mail.get_body(("plain",)).get_content())


def test_a_held_confirmation_is_sent_with_the_codes_that_are_valid_now(
    make_stub: Any, mail_sink: MailSink
) -> None:
    event = confirmation(timestamp=NOON, tickets=OLD, seats=["B5", "B6"])
    same = {name: value for name, value in event.items() if name not in ("event_id", "event_type")}
    later = codes_only(**same | {"timestamp": "2026-12-03T13:00:00Z", "tickets": NEW, "seats": ["B6", "B5"]})
    text = mailed_text(make_stub, mail_sink, record_delivery(event), later)
    assert "NEW-5" in text
    assert "OLD-5" not in text


def test_a_held_update_is_sent_with_the_codes_that_are_valid_now(make_stub: Any, mail_sink: MailSink) -> None:
    event = update("evt_update", tickets=OLD)
    held, _ = deliveries.record(event, ChannelName.EMAIL, "booking_update", event["user_email"])
    text = mailed_text(make_stub, mail_sink, held, codes_only())
    assert "NEW-5" in text
    assert "OLD-5" not in text


@pytest.mark.parametrize(
    "changes",
    [
        {"timestamp": "2026-12-03T11:00:00Z"},
        # The order is unknown.
        {"timestamp": NOON},
        {"timestamp": "today"},
        # Another message carries this ticket.
        {"screen": "Screen 9"},
        {"booking_id": "BOOK-2"},
    ],
    ids=str,
)
def test_a_held_update_keeps_its_codes_unless_its_ticket_was_certainly_renewed(
    make_stub: Any, mail_sink: MailSink, changes: dict[str, Any]
) -> None:
    event = update("evt_update", tickets=OLD)
    held, _ = deliveries.record(event, ChannelName.EMAIL, "booking_update", event["user_email"])
    text = mailed_text(make_stub, mail_sink, held, codes_only(**changes))
    assert "OLD-5" in text
    assert "NEW-5" not in text


def test_a_duplicate_update_is_mailed_once(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    for _ in range(2):
        stub.publish(update("evt_update"))
    assert len(mail_sink.mails) == 1


def test_ticket_codes_are_never_logged(make_stub: Any, mail_sink: MailSink, log_lines: Any) -> None:
    stub = make_stub(sms_provider="console")
    stub.publish(update("evt_update", user_phone="+14155550123", ticket_url=None))
    assert "8KQ2-VX7M-B5" in mail_sink.mails[0].get_body(("plain",)).get_content()
    lines = str(log_lines())
    assert "Codes: ****" in lines
    assert "8KQ2" not in lines

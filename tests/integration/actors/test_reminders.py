"""Reminders: which bookings get one, when, and only once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actors import deliveries
from actors.reminders import Reminders
from app import clock
from app.clock import iso, utcnow
from app.events.samples import sample
from app.models import Notification
from tests.support.actors import EVENTS, StubWorker, confirmation
from tests.support.mail import MailSink

BEFORE = timedelta(hours=24)


@pytest.fixture
def stub(make_stub: Any) -> StubWorker:
    """A worker that sends reminders a day before the show."""
    started: StubWorker = make_stub(reminder_hours=24, sms_provider="console")
    return started


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Advance the clock."""

    def later(ahead: timedelta) -> None:
        monkeypatch.setattr(clock, "source", lambda: datetime.now(UTC) + ahead)

    return later


def in_days(days: float) -> str:
    return iso(utcnow() + timedelta(days=days))


def booking(event_type: str = "booking.confirmed", minute: int = 0, **changes: Any) -> dict[str, Any]:
    """Return an event about one booking, `minute` minutes later than the base event."""
    ids = {"event_id": f"evt_{event_type}_{minute}", "event_type": event_type}
    event = confirmation(booking_id="BOOK-1", user_phone=None, showtime=in_days(3), tickets=None)
    return event | ids | {"timestamp": f"2026-01-01T12:{minute:02}:00Z"} | changes


def notify_of(stub: StubWorker) -> Any:
    return stub.broker.get_actor("notify").fn


def remind(stub: StubWorker, before: timedelta = BEFORE) -> None:
    """Sweep once, and wait until all resulting work is done."""
    Reminders(before).remind(notify_of(stub).remind)
    stub.join()


def planned() -> int:
    return int(Notification.objects(upcoming_showtime__exists=True).count())


def reminders() -> list[tuple[str, str, str | None]]:
    found = Notification.objects(event_type="booking.reminder").order_by("notification_type")
    return [(record.notification_type, record.status, record.error_message) for record in found]


def test_a_booking_gets_one_reminder_with_its_ticket(
    stub: StubWorker, mail_sink: MailSink, later: Any
) -> None:
    tickets = sample("booking.updated")["tickets"]
    event = booking(user_phone="+14155550123", tickets=tickets)
    stub.publish(event)
    assert planned() == 1, "one for the event, not for each channel"
    later(timedelta(days=1.9))
    remind(stub)
    assert len(mail_sink.mails) == 1
    later(timedelta(days=2.1))
    for _ in range(2):
        remind(stub)
    assert planned() == 0
    assert reminders() == [("email", "sent", None), ("sms", "sent", None)]
    _, mail = mail_sink.mails
    assert mail["Subject"].startswith("Reminder: The Third Man, ")
    text = mail.get_body(("plain",)).get_content()
    assert text.index("Showtime: ") < text.index("Movie: ")
    assert "8KQ2-VX7M-B5" in text
    record = Notification.objects.get(event_type="booking.reminder", notification_type="email")
    assert record.booking_id == "BOOK-1"
    assert record.event_data["timestamp"] == iso(datetime.fromisoformat(event["showtime"]) - BEFORE)


@pytest.mark.parametrize(
    "changes",
    [
        {"showtime": "tomorrow at 8"},
        {"showtime": "2036-12-15"},
        {"showtime": "2036-12-15T20:00:00", "timezone": None},
        {"showtime": "2036-12-15T20:00:00", "timezone": "Mars/Base"},
        {"showtime": in_days(0.9)},
        {"showtime": in_days(-1)},
    ],
)
def test_reminder_is_not_planned_for_an_ambiguous_or_near_showtime(
    stub: StubWorker, changes: dict[str, Any]
) -> None:
    stub.publish(booking(**changes))
    assert planned() == 0


def test_a_showtime_without_a_zone_is_in_the_default_zone() -> None:
    event = booking(showtime="2036-12-15T20:00:00", timezone=None)
    begins = Reminders(BEFORE, "America/New_York").upcoming_showtime(event, utcnow())
    assert begins == datetime(2036, 12, 16, 1, tzinfo=UTC)
    assert Reminders(BEFORE).upcoming_showtime(event, utcnow()) is None


def test_without_reminder_hours_no_reminder_is_planned(make_stub: Any) -> None:
    make_stub().publish(booking())
    assert planned() == 0


def test_an_external_reminder_event_sends_no_reminder(stub: StubWorker, mail_sink: MailSink) -> None:
    outside = sample("booking.confirmed") | {"event_type": "booking.reminder", "begins_at": in_days(1)}
    stub.publish(outside)
    assert stub.dead(EVENTS) == ["notify"]
    assert mail_sink.mails == []


def test_the_sweep_and_the_cleanup_use_indexes(stub: StubWorker) -> None:
    stub.publish(booking())
    plan = Notification.collection().find({"upcoming_showtime": {"$lte": utcnow()}}).sort("upcoming_showtime")
    assert "upcoming_showtime_1" in str(plan.explain())


def test_the_reminder_follows_an_update(stub: StubWorker, mail_sink: MailSink, later: Any) -> None:
    stub.publish(booking())
    stub.publish(booking("booking.updated", 1, showtime=in_days(9), previous={"showtime": in_days(3)}))
    assert planned() == 1
    later(timedelta(days=2.1))
    remind(stub)
    assert reminders() == []
    later(timedelta(days=8.1))
    remind(stub)
    assert reminders() == [("email", "sent", None), ("sms", "skipped", "the event names no recipient")]
    assert len(mail_sink.mails) == 3


def test_an_older_update_that_arrives_later_does_not_move_the_reminder(stub: StubWorker, later: Any) -> None:
    stub.publish(booking("booking.updated", 2, showtime=in_days(9), previous={"showtime": in_days(3)}))
    stub.publish(booking("booking.updated", 1, showtime=in_days(3), previous={"showtime": in_days(2)}))
    stub.publish(booking())
    assert planned() == 1
    later(timedelta(days=2.1))
    remind(stub)
    assert reminders() == []


def test_a_booking_moved_after_its_reminder_gets_another_reminder(stub: StubWorker, later: Any) -> None:
    stub.publish(booking())
    later(timedelta(days=2.1))
    remind(stub)
    stub.publish(booking("booking.updated", 1, screen="9", previous={"screen": "8"}, showtime=in_days(0.9)))
    stub.publish(booking("booking.updated", 2, showtime=in_days(9), previous={"showtime": in_days(1)}))
    later(timedelta(days=10.2))
    remind(stub)
    sent = Notification.objects(event_type="booking.reminder", notification_type="email", status="sent")
    assert len({record.event_data["begins_at"] for record in sent}) == sent.count() == 2


@pytest.mark.parametrize(
    "over",
    [
        booking("booking.cancelled", 1),
        booking("booking.refunded", 1, refund_amount=booking()["total_amount"]),
    ],
    ids=lambda event: event["event_type"],
)
@pytest.mark.parametrize("over_first", [False, True])
def test_a_canceled_or_refunded_booking_gets_no_reminder(
    stub: StubWorker, over: dict[str, Any], over_first: bool
) -> None:
    events = [over, booking()] if over_first else [booking(), over]
    for event in events:
        stub.publish(event)
    assert planned() == 0, "dropped at once: retention may delete the reason before it is due"


def test_a_partial_refund_keeps_the_reminder(stub: StubWorker) -> None:
    stub.publish(booking())
    stub.publish(booking("booking.refunded", 1, refund_amount=1))
    assert planned() == 1


def test_the_refund_of_returned_seats_keeps_the_reminder(
    stub: StubWorker, mail_sink: MailSink, later: Any
) -> None:
    stub.publish(booking(seats=["B5", "B6", "B7", "B8"], total_amount=40))
    fewer = {"seats": ["B5", "B6"], "total_amount": 20, "previous": {"seats": ["B5", "B6", "B7", "B8"]}}
    stub.publish(booking("booking.updated", 1, **fewer))
    stub.publish(booking("booking.refunded", 2, refund_amount=20))
    assert planned() == 1
    later(timedelta(days=2.1))
    remind(stub)
    assert ("email", "sent", None) in reminders()


def test_changes_between_the_reminder_event_and_its_mail_are_respected(
    stub: StubWorker, later: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.publish(booking())
    later(timedelta(days=2.1))
    with monkeypatch.context() as lost:
        lost.setattr(notify_of(stub), "_dispatch", lambda _: None)
        remind(stub)
    stub.publish(booking("booking.cancelled", 1))
    record = Notification.objects.get(event_type="booking.reminder", notification_type="email")
    assert record.status == "queued"
    stub.send_email(record.id)
    record.reload()
    assert (record.status, record.error_message) == ("skipped", "the booking is canceled")


def text_of(mail: Any) -> str:
    return str(mail.get_body(("plain",)).get_content())


def test_a_change_without_an_email_before_the_reminder_is_queued_is_in_the_reminder(
    stub: StubWorker, mail_sink: MailSink, later: Any
) -> None:
    begins = in_days(3)
    stub.publish(booking(showtime=begins, tickets=[{"seat": "B5", "code": "OLD-CODE"}]))
    later(timedelta(days=2.1))
    changes = {"showtime": begins, "tickets": [{"seat": "B5", "code": "NEW-CODE"}]}
    stub.publish(booking("booking.updated", 1, **changes, previous={}))
    remind(stub)
    assert ("email", "sent", None) in reminders()
    _, reminder = mail_sink.mails
    assert "NEW-CODE" in text_of(reminder)
    assert "OLD-CODE" not in text_of(reminder)


def test_a_change_without_an_email_after_the_reminder_is_queued_is_in_the_reminder(
    stub: StubWorker, mail_sink: MailSink, later: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins = in_days(3)
    stub.publish(booking(showtime=begins, tickets=[{"seat": "B5", "code": "OLD-CODE"}]))
    later(timedelta(days=2.1))
    with monkeypatch.context() as lost:
        lost.setattr(notify_of(stub), "_dispatch", lambda _: None)
        remind(stub)
    changes = {
        "showtime": begins,
        "movie_title": "The 3rd Man",
        "tickets": [{"seat": "B5", "code": "NEW-CODE"}],
    }
    stub.publish(booking("booking.updated", 1, **changes, previous={"movie_title": "The Third Man"}))
    record = Notification.objects.get(event_type="booking.reminder", notification_type="email")
    stored = record.event_data
    stub.send_email(record.id)
    record.reload()
    assert (record.status, record.error_message) == ("sent", None)
    assert record.event_data == stored, "the stored event stays comparable with a repeated one"
    _, reminder = mail_sink.mails
    assert reminder["Subject"].startswith("Reminder: The 3rd Man, ")
    assert "NEW-CODE" in text_of(reminder)
    assert "OLD-CODE" not in text_of(reminder)


def test_a_reminder_delayed_beyond_the_show_is_skipped(stub: StubWorker, later: Any) -> None:
    stub.publish(booking())
    later(timedelta(days=3.1))
    remind(stub)
    assert reminders() == []
    assert planned() == 0


def test_a_reminder_planned_for_fewer_hours_is_not_sent_early(stub: StubWorker, later: Any) -> None:
    stub.publish(booking())
    later(timedelta(days=1.5))
    remind(stub, timedelta(days=4))
    assert reminders() == []
    assert planned() == 0, "the booking was made within REMINDER_HOURS, as it is now"


def test_another_worker_finishes_the_reminders_of_a_killed_worker(
    stub: StubWorker, mail_sink: MailSink, later: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub.publish(booking(user_phone="+14155550123"))
    later(timedelta(days=2.1))
    record = deliveries.record

    def die(event: Any, channel: str, *rest: Any, **named: Any) -> Any:
        if channel == "email":
            raise ConnectionError
        return record(event, channel, *rest, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as broken:
        broken.setattr(deliveries, "record", die)
        with pytest.raises(ConnectionError):
            remind(stub)
    # Another worker with different settings uses the SMS that the first one recorded.
    remind(stub, timedelta(hours=25))
    assert reminders() == [("email", "sent", None), ("sms", "sent", None)]
    assert planned() == 0


def test_a_confirmation_is_kept_until_its_show(stub: StubWorker, later: Any) -> None:
    stub.publish(booking(showtime=in_days(100)))
    later(timedelta(days=95))
    assert deliveries.forget(timedelta(days=90)) == 1, "of its two records one is enough"
    assert planned() == Notification.objects.count() == 1
    later(timedelta(days=101))
    deliveries.forget(timedelta(days=90))
    assert Notification.objects.count() == 0

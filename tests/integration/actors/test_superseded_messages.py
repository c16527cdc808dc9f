"""A cancellation or failed payment is not announced after a later confirmation or payment of the booking."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from actors import deliveries
from actors.relevance import review
from app.channels import ChannelName
from app.clock import utcnow
from app.events.samples import sample
from app.messaging.dispatch import Dispatch
from app.models import Notification
from app.settings import Settings
from tests.support.actors import StubWorker, confirmation
from tests.support.mail import MailSink
from tests.support.queries import RecordedQueries, indexes_of, record_queries

#: Type of the earlier event, type of the later event, and why the earlier one is skipped.
PAIRS = [
    ("booking.cancelled", "booking.confirmed", "the booking was confirmed again"),
    ("payment.failed", "payment.success", "the booking was paid later"),
]
TEMPLATES = {"booking.cancelled": "booking_cancellation", "payment.failed": "payment_failed"}
RECIPIENTS = {ChannelName.EMAIL: "jane.doe@example.com", ChannelName.SMS: "+14155550123"}

pairs = pytest.mark.parametrize(("earlier", "later", "reason"), PAIRS)


def about_booking(event_type: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Return an event about the booking BOOK-1."""
    event = confirmation() if event_type == "booking.confirmed" else sample(event_type)
    recipients = {"user_email": RECIPIENTS[ChannelName.EMAIL], "user_phone": RECIPIENTS[ChannelName.SMS]}
    return event | recipients | {"booking_id": "BOOK-1"} | changes


def first(event_type: str, **changes: Any) -> dict[str, Any]:
    return about_booking(event_type, {"timestamp": "2026-12-03T12:00:00Z"} | changes)


def second(event_type: str, **changes: Any) -> dict[str, Any]:
    return about_booking(event_type, {"timestamp": "2026-12-03T12:00:01Z"} | changes)


def hold(event: dict[str, Any]) -> list[Notification]:
    """Record the deliveries of an event without sending them, as while every server is down."""
    template = TEMPLATES[event["event_type"]]
    return [
        deliveries.record(event, channel, template, recipient)[0] for channel, recipient in RECIPIENTS.items()
    ]


def outcomes(event_type: str) -> dict[str, tuple[str, str | None]]:
    found = Notification.objects(event_type=event_type)
    return {each.notification_type: (each.status, each.error_message) for each in found}


@pytest.fixture
def stub(make_stub: Any) -> StubWorker:
    created: StubWorker = make_stub(sms_provider="console", sms_countries=("any",))
    return created


@pairs
def test_a_held_message_is_skipped_on_both_channels_after_the_later_event(
    stub: StubWorker, mail_sink: MailSink, earlier: str, later: str, reason: str
) -> None:
    held = hold(first(earlier))
    stub.publish(second(later))
    for notification in held:
        Dispatch(stub.broker, stub.topology)(notification)
    stub.join()
    assert outcomes(earlier) == {"email": ("skipped", reason), "sms": ("skipped", reason)}
    assert outcomes(later) == {"email": ("sent", None), "sms": ("sent", None)}
    assert len(mail_sink.mails) == 1


@pairs
def test_an_event_that_arrives_after_the_later_event_is_skipped(
    stub: StubWorker, mail_sink: MailSink, earlier: str, later: str, reason: str
) -> None:
    stub.publish(second(later))
    stub.publish(first(earlier))
    assert outcomes(earlier) == {"email": ("skipped", reason), "sms": ("skipped", reason)}
    assert len(mail_sink.mails) == 1


@pairs
def test_a_later_event_counts_even_if_its_own_message_was_not_sent(
    stub: StubWorker, mail_sink: MailSink, earlier: str, later: str, reason: str
) -> None:
    mail_sink.replies = ["550 5.7.1 no"]
    stub.publish(second(later, user_phone=None))
    stub.publish(first(earlier))
    assert outcomes(earlier) == {"email": ("skipped", reason), "sms": ("skipped", reason)}


@pairs
@pytest.mark.parametrize(
    "changes",
    [
        {"timestamp": "2026-12-03T12:00:00Z"},
        {"timestamp": "2026-12-03T11:59:59Z"},
        {"timestamp": "2026-12-03T13:00:00+01:00"},
        # The order is unknown.
        {"timestamp": "2026-12-03T13:00:00"},
        {"timestamp": "tomorrow"},
        {"booking_id": "BOOK-2"},
    ],
    ids=str,
)
def test_a_message_is_sent_unless_the_other_event_is_certainly_later(
    stub: StubWorker, earlier: str, later: str, reason: str, changes: dict[str, Any]
) -> None:
    stub.publish(second(later, **changes))
    stub.publish(first(earlier))
    assert outcomes(earlier) == {"email": ("sent", None), "sms": ("sent", None)}


def test_a_cancellation_after_the_confirmation_is_sent(stub: StubWorker) -> None:
    stub.publish(first("booking.confirmed"))
    stub.publish(second("booking.cancelled"))
    assert outcomes("booking.cancelled")["email"] == ("sent", None)


@pytest.fixture
def requested(stored_settings: Settings) -> Iterator[RecordedQueries]:
    with record_queries(stored_settings) as requested:
        yield requested


@pairs
def test_the_later_event_is_looked_up_with_one_indexed_query(
    requested: RecordedQueries, earlier: str, later: str, reason: str
) -> None:
    notification, _ = hold(first(earlier))
    requested.queries.clear()
    assert review(notification, utcnow()).obsolete is None
    (query,) = requested.queries
    assert "booking_id_1_created_at_-1" in indexes_of(query)


@pytest.mark.parametrize(
    ("event_type", "changes"),
    [("payment.success", {}), ("payment.refund", {}), ("payment.failed", {"booking_id": None})],
)
def test_other_messages_need_no_query(
    requested: RecordedQueries, event_type: str, changes: dict[str, Any]
) -> None:
    event = first(event_type, **changes)
    notification = Notification(event_type=event_type, booking_id=event["booking_id"], event_data=event)
    assert review(notification, utcnow()).obsolete is None
    assert requested.queries == []

"""Confirmations that arrive too late are skipped."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.clock import utcnow
from app.events.samples import sample
from app.models import Notification
from tests.support.actors import (
    confirmation,
)
from tests.support.mail import MailSink


def test_confirmation_is_not_sent_after_the_showtime(make_stub: Any, mail_sink: MailSink) -> None:
    make_stub().publish(confirmation(showtime=(utcnow() - timedelta(minutes=1)).isoformat()))
    record = Notification.objects.get()
    assert (record.status, record.error_message) == ("skipped", "the showtime has passed")
    assert mail_sink.mails == []


def test_confirmation_is_not_sent_after_the_cancellation(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    event = confirmation()
    stub.publish(sample("booking.cancelled") | {"booking_id": event["booking_id"]})
    stub.publish(event | {"timestamp": "2020-01-01T00:00:00Z"})
    record = Notification.objects.get(event_type="booking.confirmed")
    assert (record.status, record.error_message) == ("skipped", "the booking's cancellation was sent before")
    assert [mail["Message-ID"] for mail in mail_sink.mails] == [
        Notification.objects.get(event_type="booking.cancelled").message_id
    ]


def test_a_confirmation_newer_than_the_cancellation_is_sent(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    event = confirmation()
    cancelled = sample("booking.cancelled") | {"booking_id": event["booking_id"]}
    stub.publish(cancelled | {"timestamp": "2024-12-01T10:00:00Z"})
    stub.publish(event | {"timestamp": "2024-12-01T10:00:01Z"})
    assert len(mail_sink.mails) == 2


def test_a_cancellation_that_was_not_sent_does_not_block_a_confirmation(
    make_stub: Any, mail_sink: MailSink
) -> None:
    stub = make_stub()
    event = confirmation()
    mail_sink.replies = ["550 5.7.1 no"]
    stub.publish(sample("booking.cancelled") | {"booking_id": event["booking_id"]})
    stub.publish(event)
    assert len(mail_sink.mails) == 1

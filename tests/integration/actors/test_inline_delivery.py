"""Mail sent inline by `notify`, and mail queued for its channel."""

from __future__ import annotations

from typing import Any

import dramatiq
import pytest

from app.events.samples import sample
from app.models import Notification
from tests.support.actors import (
    EMAIL,
    EVENTS,
    LogLines,
    confirmation,
    refuse_once,
)
from tests.support.mail import MailSink


def test_an_event_that_arrives_three_times_is_mailed_once(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    for _ in range(3):
        stub.publish(sample("booking.confirmed"))
    assert len(mail_sink.mails) == 1
    assert Notification.objects.get().status == "sent"


def test_a_second_message_for_a_sent_delivery_sends_nothing(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    stub.publish(sample("booking.confirmed"))
    record = Notification.objects.get()
    stub.send_email(record.id)
    assert len(mail_sink.mails) == 1


def test_an_event_has_one_delivery_for_each_channel(make_stub: Any, mail_sink: MailSink) -> None:
    make_stub(sms_provider="console").publish(sample("booking.confirmed"))
    channels = {record.notification_type: record.status for record in Notification.objects}
    assert channels == {"email": "sent", "sms": "sent"}
    assert len(mail_sink.mails) == 1


class Queued(dramatiq.Middleware):
    """Records the queue of every message."""

    def __init__(self) -> None:
        self.queues: list[str] = []

    def before_enqueue(self, broker: dramatiq.Broker, message: dramatiq.Message[Any], delay: int) -> None:
        self.queues.append(str(message.queue_name).rpartition(":")[2])


def test_an_accepted_inline_mail_queues_no_message(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    stub.broker.add_middleware(queued := Queued())
    stub.publish(sample("booking.confirmed"))
    assert len(mail_sink.mails) == 1
    assert [name for name in queued.queues if EMAIL in name] == []


def test_a_worker_that_does_not_serve_the_channel_queues_the_mail(
    make_stub: Any, mail_sink: MailSink
) -> None:
    stub = make_stub(queues={EVENTS})
    stub.broker.add_middleware(queued := Queued())
    stub.broker.enqueue(
        dramatiq.Message(stub.topology.queue(EVENTS), "notify", (sample("booking.confirmed"),), {}, {})
    )
    stub.broker.join(stub.topology.queue(EVENTS), timeout=60_000)
    assert [name for name in queued.queues if EMAIL in name] != []
    assert Notification.objects.get().status == "queued"
    assert mail_sink.mails == []


def test_a_refused_sms_message_does_not_delay_the_mail(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.retries._MIN_BACKOFF", 10)
    stub = make_stub(sms_provider="console")
    refused = refuse_once(stub, "send_sms", monkeypatch)
    stub.publish(confirmation())
    assert refused
    assert {record.status for record in Notification.objects} == {"sent"}
    assert len(mail_sink.mails) == 1


def test_the_sms_carries_the_booking_code_when_the_mail_fails(
    make_stub: Any, mail_sink: MailSink, log_lines: LogLines
) -> None:
    mail_sink.replies = ["550 5.1.1 no such user"]
    event = confirmation(user_phone="+14155552671", booking_id="BOOK-CODE-1")
    make_stub(sms_provider="console").publish(event)
    channels = {record.notification_type: record.status for record in Notification.objects}
    assert channels == {"email": "failed", "sms": "sent"}
    (text,) = [line["text"] for line in log_lines() if line["message"] == "sms"]
    assert "BOOK-CODE-1" in text

"""One slow or broken server beside everything else."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
import redis

from actors import deliveries
from actors.errors import Postponed, Uncertain
from app.clock import utcnow
from app.events.samples import sample
from app.models import Notification
from tests.support.actors import EMAIL, LEASE, confirmation, make_overdue, record_delivery
from tests.support.mail import MailSink
from tests.support.wait import wait_for

SEND = "actors.channels.email.channel.EmailChannel.send"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A mail server that accepts connections and never greets."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        yield server.getsockname()[1]


def test_a_mail_server_that_never_greets_holds_up_neither_sms_nor_events(
    make_stub: Any, silent_port: int
) -> None:
    stub = make_stub(
        smtp_server="127.0.0.1", smtp_port=silent_port, smtp_timeout=20.0, sms_provider="console"
    )
    started = time.monotonic()
    for number in range(60):
        # A booking and a moviegoer each: the caps on messages are not what is tested.
        stub.send(
            sample("booking.confirmed")
            | {
                "event_id": f"evt_{number}",
                "booking_id": f"BOOK-{number}",
                "user_email": f"user{number}@example.com",
                "user_phone": f"+1415555{number:04}",
            }
        )
    sms = Notification.objects(notification_type="sms", status="sent")
    wait_for(lambda: sms.count() == 60, 10, lambda: f"{sms.count()} of 60 sent")
    assert time.monotonic() - started < 10
    mails = Notification.objects(notification_type="email")
    wait_for(lambda: mails.count() == 60, 5, "not every mail is on record")
    assert {mail.status for mail in mails} <= {"queued", "sending", "retrying"}
    assert not mails.filter(retry_count__gt=0).count()


def test_a_held_mail_fails_when_the_hours_are_over(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Down(Postponed):
        seconds = 0.01

    def send(self: Any, notification: Notification) -> Mapping[str, Any]:
        raise Down("the server is down")

    monkeypatch.setattr(SEND, send)
    stub = make_stub(smtp_retry_hours=1 / 36_000)
    stub.publish(confirmation())
    record = Notification.objects.get()
    assert (record.status, record.retry_count) == ("failed", 0)
    assert record.error_message == "the server is down"
    assert stub.dead(EMAIL) == ["send_email"]


def test_a_held_mail_is_not_sent_after_the_showtime(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Down(Postponed):
        seconds = 0.2

    def send(self: Any, notification: Notification) -> Mapping[str, Any]:
        raise Down("the server is down")

    monkeypatch.setattr(SEND, send)
    make_stub().publish(confirmation(showtime=(utcnow() + timedelta(seconds=1)).isoformat()))
    record = Notification.objects.get()
    assert (record.status, record.error_message) == ("skipped", "the showtime has passed")


def test_the_message_id_is_on_record_before_the_mail_is_sent(
    make_stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(self: Any, notification: Notification) -> Mapping[str, Any]:
        raise Uncertain("no reply")

    monkeypatch.setattr(SEND, send)
    make_stub().publish(confirmation())
    record = Notification.objects.get()
    assert record.status == "uncertain"
    assert record.message_id.endswith("@movieapp.example.com>")


def test_ten_outages_of_redis_count_against_no_delivery(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = make_stub()
    record = record_delivery(confirmation())
    assert isinstance(deliveries.claim(str(record.id), LEASE), Notification)
    make_overdue(record)
    outages = 12

    def find(self: Any, notification: Notification) -> None:
        nonlocal outages
        if outages:
            outages -= 1
            raise redis.ConnectionError("down")

    monkeypatch.setattr("actors.receipts.Receipts.find", find)
    monkeypatch.setattr("actors.retries._MIN_BACKOFF", 1)
    deliver = stub.broker.get_actor("send_email").fn
    for _ in range(12):
        with pytest.raises(redis.ConnectionError):
            deliver(str(record.id))
    deliver(str(record.id))
    record.reload()
    assert (record.status, record.abandoned, len(mail_sink.mails)) == ("sent", 1, 1)


def test_a_wait_longer_than_a_message_may_be_delayed_is_split(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.deliver.delay", lambda retries: 3_600_000)
    stub = make_stub(queues={EMAIL})
    deliver = stub.broker.get_actor("send_email").fn
    mail_sink.replies = ["450 4.2.0 greylisted"]
    record = record_delivery(confirmation())
    for _ in range(2):
        with pytest.raises(dramatiq.Retry) as later:
            deliver(str(record.id))
        assert later.value.delay == 14 * 60 * 1_000
    record.reload()
    assert (record.status, record.retry_count) == ("retrying", 1)
    assert record.next_attempt_at - utcnow() > timedelta(minutes=55)

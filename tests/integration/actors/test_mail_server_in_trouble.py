"""A slow or broken mail server does not affect other work."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dramatiq
import pytest
import redis

from actors import deliveries
from actors.channels.email.channel import EmailChannel
from actors.errors import Postponed, TemporaryFailure, Uncertain
from app import models
from app.clock import utcnow
from app.models import Notification
from tests.support.actors import EMAIL, LEASE, StubWorker, confirmation, make_overdue, record_delivery
from tests.support.mail import MailSink
from tests.support.proxy import Proxy
from tests.support.twilio import HANG, FakeTwilio
from tests.support.wait import wait_for, wait_within

if TYPE_CHECKING:
    from app.settings import Settings

SEND = "actors.channels.email.channel.EmailChannel.send"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A mail server that accepts connections and never greets."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        yield server.getsockname()[1]


def confirm_bookings(stub: StubWorker, numbers: Iterable[int]) -> None:
    for number in numbers:
        # Each has a different booking and recipient, so that message limits do not apply.
        stub.send(
            confirmation(
                event_id=f"evt_{number}",
                booking_id=f"BOOK-{number}",
                user_email=f"user{number}@example.com",
                user_phone=f"+1415555{number:04}",
            )
        )


def test_a_mail_server_that_never_greets_delays_neither_sms_nor_events(
    make_stub: Any, silent_port: int
) -> None:
    stub = make_stub(
        smtp_server="127.0.0.1", smtp_port=silent_port, smtp_timeout=30.0, sms_provider="console"
    )
    confirm_bookings(stub, range(60))
    sms = Notification.objects(notification_type="sms", status="sent")
    # Sooner than one mail waits for its server. On an idle machine, it takes 6 s.
    wait_within(lambda: sms.count() == 60, 30, lambda: f"{sms.count()} of 60 sent")
    mails = Notification.objects(notification_type="email")
    wait_for(lambda: mails.count() == 60, 5, "not every mail is on record")
    assert {mail.status for mail in mails} <= {"queued", "sending", "retrying"}
    assert not mails.filter(retry_count__gt=0).count()


@pytest.mark.parametrize("worked", [False, True], ids=["from the start", "after it worked"])
def test_an_sms_provider_that_never_responds_delays_no_mail(
    make_stub: Any, mail_sink: MailSink, twilio: FakeTwilio, worked: bool
) -> None:
    stub = make_stub(threads=8, **twilio.settings | {"twilio_timeout": 30.0})
    if worked:
        confirm_bookings(stub, range(60, 64))
        sent = Notification.objects(notification_type="sms", status="sent")
        wait_for(lambda: sent.count() == 4, 20, "the provider does not work")
    twilio.script = [HANG] * 100
    earlier = len(mail_sink.mails)
    confirm_bookings(stub, range(60))
    # Sooner than one SMS waits for its provider. On an idle machine, it takes 7 s.
    wait_within(lambda: len(mail_sink.mails) == earlier + 60, 30, lambda: f"{len(mail_sink.mails)} mails")
    waiting = Notification.objects(notification_type="sms", status__ne="sent")
    assert {sms.status for sms in waiting} <= {"queued", "sending", "retrying"}
    assert not waiting.filter(retry_count__gt=0).count()
    twilio.over.set()


def test_a_held_mail_fails_after_the_retry_period(
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


def test_the_message_id_is_recorded_before_the_mail_is_sent(
    make_stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(self: Any, notification: Notification) -> Mapping[str, Any]:
        raise Uncertain("no reply")

    monkeypatch.setattr(SEND, send)
    make_stub().publish(confirmation())
    record = Notification.objects.get()
    assert record.status == "uncertain"
    assert record.message_id.endswith("@movieapp.example.com>")


def test_redis_outages_use_no_attempts_of_a_delivery(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = make_stub()
    record = record_delivery(confirmation())
    assert isinstance(deliveries.claim(str(record.id), utcnow() + LEASE), Notification)
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
    assert (record.status, record.abandoned - record.excused, len(mail_sink.mails)) == ("sent", 1, 1)


@pytest.fixture
def cable(stored_settings: Settings) -> Iterator[Proxy]:
    """A connection to MongoDB that can be cut."""
    parts = urlsplit(stored_settings.mongodb_uri)
    assert parts.port
    with Proxy(parts.port) as proxy:
        uri = parts._replace(netloc=f"{parts.hostname}:{proxy.port}").geturl()
        models.disconnect()
        models.connect(stored_settings.model_copy(update={"mongodb_uri": uri}))
        yield proxy


def test_mongodb_lost_between_claim_and_record_counts_against_no_delivery(
    make_stub: Any, mail_sink: MailSink, cable: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = threading.Event()
    real = EmailChannel.send

    def send(self: EmailChannel, notification: Notification) -> Mapping[str, Any]:
        if refused.is_set():
            return real(self, notification)
        cable.cut()
        refused.set()
        raise TemporaryFailure("451 greylisted")

    monkeypatch.setattr(SEND, send)
    monkeypatch.setattr("actors.retries._MAX_BACKOFF", 1_000)
    stub = make_stub(sweeping=True)
    stub.send(confirmation())
    assert refused.wait(30)
    channel = stub.broker.get_actor("send_email").fn
    wait_for(lambda: channel._unrecorded, 30, "the worker did not notice the outage")
    cable.restore()
    # Long before its lease of minutes ends.
    wait_for(lambda: mail_sink.mails, 45, "the mail waits for the end of a lease")
    sent = Notification.objects(status="sent")
    wait_for(lambda: sent.count() == 1, 20, "the mail is not on record")
    assert sent.first().abandoned == sent.first().excused
    assert len(mail_sink.mails) == 1


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

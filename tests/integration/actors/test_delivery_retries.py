"""How often a delivery is tried, and when it ends as a dead letter."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from dramatiq.errors import ConnectionClosed

from actors import deliveries
from actors.errors import DeliveryError, Postponed, Uncertain
from app.clock import utcnow
from app.delivery_status import DeliveryStatus
from app.events.samples import sample
from app.models import Notification
from app.operations.notifications import requeue
from tests.support.actors import (
    EMAIL,
    EVENTS,
    LEASE,
    acknowledge_late,
    confirmation,
    make_overdue,
    record_delivery,
    refuse_once,
    sweep,
)
from tests.support.mail import MailSink


def test_retries_end_at_the_limit(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.deliver.delay", lambda retries: 10)
    mail_sink.replies = ["450 4.2.0 busy"] * 9
    stub = make_stub(max_retry_attempts=2)
    stub.publish(sample("booking.confirmed"))
    record = Notification.objects.get()
    assert (record.status, record.retry_count) == ("failed", 2)
    assert [attempt.outcome for attempt in record.attempts] == ["retrying", "retrying", "failed"]
    assert stub.dead(EMAIL) == ["send_email"]
    assert mail_sink.mails == []


def test_a_postponed_delivery_uses_no_retry(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = ["432 4.3.2 not yours to blame"] * 3

    class NotNow(Postponed):
        seconds = 0.01

    def send(self: Any, notification: Notification) -> Mapping[str, Any]:
        if refusals:
            raise NotNow(refusals.pop())
        return {}

    monkeypatch.setattr("actors.channels.email.channel.EmailChannel.send", send)
    make_stub(max_retry_attempts=0).publish(confirmation())
    record = Notification.objects.get()
    assert (record.status, record.retry_count, len(record.attempts)) == ("sent", 0, 1)


def test_a_second_message_does_not_use_the_retries_of_the_first(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    record = record_delivery(confirmation())
    claimed = deliveries.claim(str(record.id), utcnow() + LEASE)
    assert isinstance(claimed, Notification)
    deliveries.retry(claimed, timedelta(seconds=1), "451 later", counted=True)
    stub.send_email(record.id)
    stub.send_email(record.id)
    assert len(mail_sink.mails) == 1
    assert Notification.objects.get().sent_at >= claimed.created_at + timedelta(seconds=1)


@pytest.mark.parametrize("error", [ConnectionClosed("down"), socket.gaierror("no such host")], ids=repr)
@pytest.mark.parametrize("inline", [True, False], ids=["inline", "queued"])
def test_a_retry_that_the_broker_refuses_is_not_lost(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch, inline: bool, error: Exception
) -> None:
    stub = make_stub()
    enqueue = stub.broker.enqueue

    def refuse_retries(message: Any, *, delay: int | None = None) -> Any:
        if delay:
            raise error
        return enqueue(message)

    mail_sink.replies = ["450 4.2.0 busy"]
    with monkeypatch.context() as patch:
        patch.setattr(stub.broker, "enqueue", refuse_retries)
        if inline:
            stub.publish(confirmation())
        else:
            stub.send_email(record_delivery(confirmation()).id)
    assert stub.dead(EMAIL) == ([] if inline else ["send_email"])
    assert stub.dead(EVENTS) == []
    record = Notification.objects.get()
    assert record.status == "retrying"
    Notification.objects.update_one(set__next_attempt_at=utcnow())
    make_overdue(record)
    assert sweep(stub) == 1
    assert len(mail_sink.mails) == 1


@pytest.mark.parametrize("reply", ["550 5.1.1 no such user", None], ids=["failed", "uncertain"])
def test_a_dead_letter_that_the_broker_refuses_is_not_lost(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch, reply: str | None
) -> None:
    def unanswered(self: Any, notification: Notification) -> Mapping[str, Any]:
        raise Uncertain("no answer")

    if reply is None:
        monkeypatch.setattr("actors.channels.email.channel.EmailChannel.send", unanswered)
    mail_sink.replies = [reply] if reply else []
    stub = make_stub()
    refused = refuse_once(stub, "send_email", monkeypatch)
    stub.publish(confirmation())
    assert refused
    assert stub.dead(EMAIL) == ["send_email"]
    assert stub.dead(EVENTS) == []
    record = Notification.objects.get()
    assert (record.status, len(record.attempts)) == ("failed" if reply else "uncertain", 1)


@pytest.mark.parametrize("status", [DeliveryStatus.FAILED, DeliveryStatus.UNCERTAIN])
@pytest.mark.parametrize("inline", [True, False], ids=["inline", "queued"])
def test_a_late_acknowledgment_of_a_failure_loses_no_dead_letter(
    make_stub: Any, monkeypatch: pytest.MonkeyPatch, inline: bool, status: DeliveryStatus
) -> None:
    def send(self: Any, notification: Notification) -> Mapping[str, Any]:
        raise Uncertain("no reply") if status == DeliveryStatus.UNCERTAIN else DeliveryError("550 no")

    monkeypatch.setattr("actors.channels.email.channel.EmailChannel.send", send)
    monkeypatch.setattr("actors.retries._MIN_BACKOFF", 10)
    stub = make_stub()
    late = acknowledge_late(monkeypatch, status)
    if inline:
        stub.publish(confirmation())
    else:
        stub.send_email(record_delivery(confirmation()).id)
    assert late
    assert (Notification.objects.get().status, stub.dead(EMAIL)) == (status, ["send_email"])
    assert stub.dead(EVENTS) == []


def test_a_worker_that_dies_after_it_records_a_failure_loses_no_dead_letter(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = [RuntimeError("killed")]

    def die(*_: object) -> None:
        if deaths:
            raise deaths.pop()

    monkeypatch.setattr("actors.deliver.log_outcome", die)
    monkeypatch.setattr("actors.retries._MIN_BACKOFF", 10)
    mail_sink.replies = ["550 5.1.1 no such user"]
    stub = make_stub()
    stub.send_email(record_delivery(confirmation()).id)
    assert (deaths, Notification.objects.get().status) == ([], "failed")
    assert stub.dead(EMAIL) == ["send_email"]


def test_replaying_the_dead_letter_of_a_sent_mail_sends_nothing(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    mail_sink.replies = ["550 5.1.1 no such user"]
    stub.publish(sample("booking.confirmed"))
    assert stub.dead(EMAIL) == ["send_email"]
    record = Notification.objects.get()
    assert requeue(record, "replayed")
    again: dramatiq.Message[Any] = dramatiq.Message(
        stub.topology.queue(EMAIL), "send_email", (str(record.id),), {"given_up": True}, {}
    )
    for _ in range(2):  # the dead letter is replayed, and its message redelivered
        stub.broker.enqueue(again)
        stub.join()
    assert record.reload().status == "sent"
    assert len(mail_sink.mails) == 1
    assert stub.dead(EMAIL) == ["send_email"]


def test_an_unexpected_error_becomes_a_dead_letter(make_stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def send(self: Any, notification: Notification) -> Mapping[str, Any]:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("actors.channels.email.channel.EmailChannel.send", send)
    stub = make_stub()
    stub.publish(confirmation())
    record = Notification.objects.get()
    assert (record.status, record.error_message) == (
        "failed",
        "unexpected ZeroDivisionError: division by zero",
    )
    assert stub.dead(EMAIL) == ["send_email"]


def test_a_delivery_that_kills_its_workers_becomes_a_dead_letter(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    record = record_delivery(confirmation())
    Notification.objects(id=record.id).update_one(set__abandoned=10)
    stub.send_email(record.id)
    assert record.reload().error_message == "10 workers claimed the delivery, and none recorded an outcome"
    assert stub.dead(EMAIL) == ["send_email"]
    assert mail_sink.mails == []

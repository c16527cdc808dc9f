"""Deliveries whose message or worker was lost are queued again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from dramatiq.errors import ConnectionClosed

from actors import deliveries
from actors.receipts import Receipts
from actors.relevance import Review, review
from app import clock
from app.clock import utcnow
from app.delivery_status import DeliveryStatus
from app.events.samples import sample
from app.models import Notification
from app.operations.notifications import requeue
from app.settings import Settings
from tests.support.actors import (
    LEASE,
    confirmation,
    make_overdue,
    record_delivery,
    sweep,
)
from tests.support.mail import MailSink


def test_a_repeated_event_queues_a_delivery_that_was_never_queued(
    make_stub: Any, mail_sink: MailSink
) -> None:
    event = sample("booking.confirmed")
    record_delivery(event)
    make_stub().publish(event)
    assert len(mail_sink.mails) == 1


def test_a_delivery_whose_worker_died_is_sent_after_its_lease(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    record = record_delivery(sample("booking.confirmed"))
    assert isinstance(deliveries.claim(str(record.id), utcnow() + LEASE), Notification)
    second = deliveries.claim(str(record.id), utcnow() + LEASE)
    assert isinstance(second, deliveries.Busy), "held by the first claim"
    make_overdue(record)

    stub.send_email(record.id)
    assert len(mail_sink.mails) == 1


def test_a_delivery_whose_message_was_lost_is_queued_again(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    record = record_delivery(confirmation())
    assert sweep(stub) == 0, "it is not overdue yet"
    make_overdue(record)
    assert sweep(stub) == 1
    assert len(mail_sink.mails) == 1
    assert sweep(stub) == 0


def test_a_retry_whose_message_was_lost_is_queued_again(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    record = record_delivery(confirmation())
    claimed = deliveries.claim(str(record.id), utcnow() + LEASE)
    assert isinstance(claimed, Notification)
    deliveries.retry(claimed, timedelta(0), "451 later", counted=True)
    make_overdue(record)
    assert sweep(stub) == 1
    assert [attempt.outcome for attempt in record.reload().attempts] == ["retrying", "sent"]


def test_a_delivery_whose_worker_and_message_are_lost_is_queued_again(
    make_stub: Any, mail_sink: MailSink
) -> None:
    stub = make_stub()
    record = record_delivery(confirmation())
    deliveries.claim(str(record.id), utcnow() + LEASE)
    make_overdue(record)
    assert sweep(stub) == 1
    assert len(mail_sink.mails) == 1
    assert record.reload().abandoned == 1


def test_a_running_worker_sweeps_overdue_deliveries(make_stub: Any, mail_sink: MailSink) -> None:
    record = record_delivery(confirmation())
    make_overdue(record)
    make_stub(sweeping=True)
    mail_sink.wait(1)


def test_the_interval_between_requeues_grows_with_the_age_of_the_delivery(make_stub: Any) -> None:
    record = record_delivery(confirmation())
    queued: list[Notification] = []
    waits = []
    for minutes in (6, 12, 24):
        created = utcnow() - timedelta(minutes=minutes)
        Notification.objects(id=record.id).update_one(set__created_at=created)
        make_overdue(record)
        deliveries.requeue_overdue(queued.append)
        waits.append(round((record.reload().due_at - utcnow()) / timedelta(minutes=1)))
    assert waits == [6, 12, 24]
    assert len(queued) == 3


def test_a_sweep_without_a_broker_leaves_the_delivery_overdue(make_stub: Any) -> None:
    def no_broker(_: Notification) -> None:
        raise ConnectionClosed("down")

    record = record_delivery(confirmation())
    make_overdue(record)
    with pytest.raises(ConnectionClosed):
        deliveries.requeue_overdue(no_broker)
    assert record.reload().due_at < utcnow()


def test_a_worker_without_its_lease_can_only_record_that_the_mail_was_sent(make_stub: Any) -> None:
    record = record_delivery(confirmation())
    late = deliveries.claim(str(record.id), utcnow() + LEASE)
    assert isinstance(late, Notification)
    make_overdue(record)
    assert isinstance(deliveries.claim(str(record.id), utcnow() + LEASE), Notification)
    deliveries.retry(late, timedelta(0), "451 later", counted=True)
    deliveries.end(late, DeliveryStatus.FAILED, "550 no")
    assert record.reload().status == "sending"
    deliveries.sent(late, utcnow(), subject="It was accepted")
    assert record.reload().status == "sent"


def test_a_mail_accepted_while_mongodb_was_down_is_recorded_and_not_sent_again(
    make_stub: Any, mail_sink: MailSink, stored_settings: Settings
) -> None:
    stub = make_stub()
    record = record_delivery(confirmation())
    deliveries.claim(str(record.id), utcnow() + LEASE)
    accepted = utcnow()
    with redis.Redis.from_url(stored_settings.redis_url, decode_responses=True) as store:
        Receipts(store, stored_settings.namespace).keep(
            record, accepted, {"subject": "Yours", "message_id": "<a@b>"}
        )
    make_overdue(record)
    stub.send_email(record.id)
    found = record.reload()
    assert (found.status, found.sent_at, found.subject) == ("sent", accepted, "Yours")
    assert mail_sink.mails == []


def test_an_inline_delivery_whose_lease_ended_before_sending_is_sent_by_its_retry(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def freeze(notification: Notification, now: datetime) -> Review:
        monkeypatch.setattr(clock, "source", lambda: datetime.now(UTC) + timedelta(hours=1))
        return review(notification, now)

    stub = make_stub()
    monkeypatch.setattr("actors.deliver.review", freeze)
    stub.publish(confirmation())
    assert len(mail_sink.mails) == 1
    (record,) = Notification.objects
    assert (record.status, record.abandoned) == ("sent", 1)


def test_a_resend_whose_worker_died_is_sent_despite_the_receipt_of_the_first_message(
    make_stub: Any, mail_sink: MailSink
) -> None:
    stub = make_stub()
    record = record_delivery(confirmation())
    stub.send_email(record.id)
    assert requeue(record.reload(), "resent, was sent")
    deliveries.claim(str(record.id), utcnow() + LEASE)
    make_overdue(record)
    stub.send_email(record.id)
    assert len(mail_sink.mails) == 2
    assert [attempt.outcome for attempt in record.reload().attempts] == ["sent", "queued", "sent"]


def test_old_finished_deliveries_are_deleted(make_stub: Any) -> None:
    make_stub().publish(confirmation())
    (finished,) = Notification.objects
    waiting = record_delivery(confirmation(event_id="evt_waiting"))
    Notification.objects.update(set__created_at=utcnow() - timedelta(days=91))
    recent = record_delivery(confirmation(event_id="evt_recent"))
    assert deliveries.forget(timedelta(days=92)) == 0
    assert deliveries.forget(timedelta(days=90)) == 1
    assert deliveries.forget(timedelta(days=90)) == 0
    assert {record.id for record in Notification.objects} == {waiting.id, recent.id}
    assert finished.id not in {record.id for record in Notification.objects}

"""The actors on Dramatiq's stub broker; storage and SMTP underneath are real, each started in a second."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import ConnectionClosed

from actors import deliveries
from actors.declare import worker_broker
from actors.dispatch import Dispatch
from actors.errors import Postponed, Uncertain
from actors.receipts import Receipts
from actors.sweeps import Sweeps
from app import models
from app.channels import ChannelName
from app.clock import utcnow
from app.delivery_status import DeliveryStatus
from app.events.samples import sample
from app.messaging.publisher import BrokerPublisher, OutgoingEvent
from app.messaging.topology import Topology
from app.models import Notification
from app.operations.notifications import requeue
from app.settings import Settings
from tests.support.mail import MailSink

LogLines = Callable[[], list[dict[str, Any]]]

LEASE = timedelta(minutes=3)

EVENTS, PAYMENTS = "notification.booking_events", "notification.payment_events"
EMAIL, SMS = "notification.email", "notification.sms"


class Stub:
    """A worker on the stub broker; `publish` returns when everything that follows from an event is done."""

    def __init__(self, settings: Settings, *, sweeping: bool, queues: set[str] | None) -> None:
        broker = worker_broker(settings)
        assert isinstance(broker, StubBroker)
        if not sweeping:  # what a test has made overdue, before the test's own sweep does
            broker.middleware = [each for each in broker.middleware if not isinstance(each, Sweeps)]
        self.broker = broker
        self.topology = Topology.of(settings)
        self._queue = self.topology.queue
        served = queues and {self._queue(queue) for queue in queues}
        self.worker = dramatiq.Worker(broker, queues=served, worker_timeout=20, worker_threads=2)
        self.worker.start()
        self._publisher = BrokerPublisher(settings, broker)

    def publish(self, event: dict[str, Any]) -> None:
        self._publisher.publish(OutgoingEvent(event["event_id"], event["event_type"], json.dumps(event)))
        self.join()

    def join(self) -> None:
        for queue in (EVENTS, PAYMENTS, EMAIL, SMS):
            self.broker.join(self._queue(queue), timeout=10_000, fail_fast=False)
        self.worker.join()

    def dead(self, queue: str) -> list[str]:
        return [message.actor_name for message in self.broker.dead_letters_by_queue[self._queue(queue)]]

    def send_email(self, notification_id: object) -> None:
        self.broker.enqueue(
            dramatiq.Message(self._queue(EMAIL), "send_email", (str(notification_id),), {}, {})
        )
        self.join()


@pytest.fixture
def make_stub(stored_settings: Settings, mail_sink: MailSink) -> Iterator[Any]:
    models.connect(stored_settings)
    stubs: list[Stub] = []

    def make(*, sweeping: bool = False, queues: set[str] | None = None, **changes: Any) -> Stub:
        changed = stored_settings.model_copy(update=mail_sink.settings | changes)
        stubs.append(Stub(changed, sweeping=sweeping, queues=queues))
        return stubs[-1]

    yield make
    for stub in stubs:
        stub.worker.stop()
        stub.broker.close()


def recorded(event: dict[str, Any]) -> Notification:
    """The delivery of `event` by mail, recorded and queued by nobody."""
    return deliveries.record(event, ChannelName.EMAIL, "booking_confirmation", event["user_email"])[0]


def refused_once(stub: Stub, actor: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The message that the broker does not take: the first one for `actor`."""
    refused: list[Any] = []
    enqueue = stub.broker.enqueue

    def away_for_once(message: Any, *, delay: int | None = None) -> Any:
        if message.actor_name == actor and not refused:
            refused.append(message)
            raise ConnectionClosed("away")
        return enqueue(message, delay=delay)

    monkeypatch.setattr(stub.broker, "enqueue", away_for_once)
    return refused


def overdue(record: Notification) -> None:
    Notification.objects(id=record.id).update_one(set__due_at=utcnow() - timedelta(seconds=1))


def test_an_event_is_mailed_once_however_often_it_comes(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    for _ in range(3):
        stub.publish(sample("booking.confirmed"))
    assert len(mail_sink.mails) == 1
    assert Notification.objects.get().status == "sent"


def test_two_messages_for_one_delivery_send_once(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    stub.publish(sample("booking.confirmed"))
    record = Notification.objects.get()
    stub.send_email(record.id)
    assert len(mail_sink.mails) == 1


def test_email_and_sms_of_one_event_are_deliveries_of_their_own(make_stub: Any, mail_sink: MailSink) -> None:
    make_stub(sms_provider="console").publish(sample("booking.confirmed"))
    channels = {record.notification_type: record.status for record in Notification.objects}
    assert channels == {"email": "sent", "sms": "sent"}
    assert len(mail_sink.mails) == 1


# --- On the spot, or from the queue


class Queued(dramatiq.Middleware):
    """Notes the queue of every message."""

    def __init__(self) -> None:
        self.queues: list[str] = []

    def before_enqueue(self, broker: dramatiq.Broker, message: dramatiq.Message[Any], delay: int) -> None:
        self.queues.append(str(message.queue_name).rpartition(":")[2])


def test_a_mail_that_is_taken_at_once_needs_no_second_message(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    stub.broker.add_middleware(queued := Queued())
    stub.publish(sample("booking.confirmed"))
    assert len(mail_sink.mails) == 1
    assert [name for name in queued.queues if EMAIL in name] == []


def test_a_worker_that_does_not_serve_the_channel_leaves_the_mail_to_its_queue(
    make_stub: Any, mail_sink: MailSink
) -> None:
    stub = make_stub(queues={EVENTS})
    stub.broker.add_middleware(queued := Queued())
    stub.broker.enqueue(
        dramatiq.Message(stub.topology.queue(EVENTS), "notify", (sample("booking.confirmed"),), {}, {})
    )
    stub.broker.join(stub.topology.queue(EVENTS), timeout=10_000)
    assert [name for name in queued.queues if EMAIL in name] != []
    assert Notification.objects.get().status == "queued"
    assert mail_sink.mails == []


def test_the_letter_of_a_mail_that_was_sent_after_all_is_none(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    mail_sink.replies = ["550 5.1.1 no such user"]
    stub.publish(sample("booking.confirmed"))
    assert stub.dead(EMAIL) == ["send_email"]
    record = Notification.objects.get()
    assert requeue(record, "replayed")
    again: dramatiq.Message[Any] = dramatiq.Message(
        stub.topology.queue(EMAIL), "send_email", (str(record.id),), {"given_up": True}, {}
    )
    for _ in range(2):  # the letter replayed, and its message delivered once more
        stub.broker.enqueue(again)
        stub.join()
    assert record.reload().status == "sent"
    assert len(mail_sink.mails) == 1
    assert stub.dead(EMAIL) == ["send_email"]


def test_a_channel_whose_queue_takes_nothing_holds_up_no_mail(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.retries._MIN_BACKOFF", 10)
    stub = make_stub(sms_provider="console")
    refused = refused_once(stub, "send_sms", monkeypatch)
    stub.publish(confirmation())
    assert refused
    assert {record.status for record in Notification.objects} == {"sent"}
    assert len(mail_sink.mails) == 1


# --- What is wrong, or goes wrong


def test_an_invalid_event_is_dead_lettered_unretried(make_stub: Any) -> None:
    stub = make_stub()
    stub.publish(sample("booking.confirmed") | {"seats": "A1"})
    assert stub.dead(EVENTS) == ["notify"]
    assert Notification.objects.count() == 0


def test_fields_that_nobody_reads_may_have_any_name(make_stub: Any, mail_sink: MailSink) -> None:
    extra = {"a.b": 1, "$c": {"d.e": [None, {"$f": 1}]}, "": 2}
    make_stub().publish(sample("booking.confirmed") | extra)
    assert len(mail_sink.mails) == 1
    assert Notification.objects.get().event_data["a.b"] == 1


def test_retries_end_at_the_limit(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.deliver.delay", lambda retries: 10)
    mail_sink.replies = ["451 4.3.0 busy"] * 9
    stub = make_stub(max_retry_attempts=2)
    stub.publish(sample("booking.confirmed"))
    record = Notification.objects.get()
    assert (record.status, record.retry_count) == ("failed", 2)
    assert [attempt.outcome for attempt in record.attempts] == ["retrying", "retrying", "failed"]
    assert stub.dead(EMAIL) == ["send_email"]
    assert mail_sink.mails == []


def test_a_delivery_whose_worker_died_is_sent_when_its_lease_has_run_out(
    make_stub: Any, mail_sink: MailSink
) -> None:
    stub = make_stub()
    record = recorded(sample("booking.confirmed"))
    assert isinstance(deliveries.claim(str(record.id), LEASE), Notification)
    assert isinstance(deliveries.claim(str(record.id), LEASE), deliveries.Busy), "held by the first claim"
    overdue(record)

    stub.send_email(record.id)
    assert len(mail_sink.mails) == 1


def test_a_recorded_delivery_that_was_never_queued_is_queued_when_the_event_comes_again(
    make_stub: Any, mail_sink: MailSink
) -> None:
    event = sample("booking.confirmed")
    recorded(event)
    make_stub().publish(event)
    assert len(mail_sink.mails) == 1


# --- The same id, another event


def status_of(event: dict[str, Any], settings: Settings) -> Any:
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as store:
        return store.get(f"{settings.namespace}event:{event['event_id']}:status")


@pytest.mark.parametrize("redis_forgot", [False, True])
def test_another_event_under_a_known_id_is_kept_aside_and_not_sent(
    make_stub: Any,
    mail_sink: MailSink,
    stored_settings: Settings,
    log_lines: LogLines,
    redis_forgot: bool,
) -> None:
    stub = make_stub()
    event = sample("booking.confirmed")
    stub.publish(event)
    if redis_forgot:
        with redis.Redis.from_url(stored_settings.redis_url) as store:
            store.delete(*store.keys(f"{stored_settings.namespace}event:*"))
    stub.publish(event | {"user_email": "other@example.com", "seats": ["Z9"]})
    assert len(mail_sink.mails) == 1
    assert stub.dead(EVENTS) == ["notify"]
    (kept,) = [line for line in log_lines() if line["message"] == "event kept aside"]
    assert (kept["level"], kept["event_id"]) == ("error", event["event_id"])
    assert kept["reason"] == "its event_id is known with other values of seats, user_email"
    assert status_of(event, stored_settings) == "processed"
    assert Notification.objects.get().recipient == event["user_email"]


def test_a_copy_that_was_serialised_in_another_way_is_a_copy(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    event = sample("booking.confirmed") | {"total_amount": 25}
    stub.publish(event)
    stub.publish(dict(reversed(event.items())) | {"total_amount": 25.0, "cinema_address": None} | event)
    stub.publish(event | {"total_amount": 25.0, "nothing": None})
    assert stub.dead(EVENTS) == []
    assert len(mail_sink.mails) == 1


def test_an_invalid_copy_does_not_change_what_became_of_the_first(
    make_stub: Any, stored_settings: Settings
) -> None:
    stub = make_stub()
    event = sample("booking.confirmed")
    stub.publish(event)
    stub.publish(event | {"seats": "A1"})
    assert stub.dead(EVENTS) == ["notify"]
    assert status_of(event, stored_settings) == "processed"


@pytest.mark.parametrize("value", [10**30, "\ud800", {"a": "x" * 17_000_000}], ids=["int", "text", "size"])
def test_what_cant_be_stored_is_refused_at_once(make_stub: Any, value: object) -> None:
    stub = make_stub()
    stub.publish(sample("booking.confirmed") | {"extra": value})
    assert stub.dead(EVENTS) == ["notify"]


# --- Too late


def confirmation(**changes: Any) -> dict[str, Any]:
    soon = (utcnow() + timedelta(days=1)).isoformat()
    return sample("booking.confirmed") | {"showtime": soon} | changes


def test_no_confirmation_after_the_showtime(make_stub: Any, mail_sink: MailSink) -> None:
    make_stub().publish(confirmation(showtime=(utcnow() - timedelta(minutes=1)).isoformat()))
    record = Notification.objects.get()
    assert (record.status, record.error_message) == ("skipped", "the showtime has passed")
    assert mail_sink.mails == []


def test_no_confirmation_after_its_cancellation(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    event = confirmation()
    stub.publish(sample("booking.cancelled") | {"booking_id": event["booking_id"]})
    stub.publish(event | {"timestamp": "2020-01-01T00:00:00Z"})
    record = Notification.objects.get(event_type="booking.confirmed")
    assert (record.status, record.error_message) == ("skipped", "the booking's cancellation was sent before")
    assert [mail["Message-ID"] for mail in mail_sink.mails] == [
        Notification.objects.get(event_type="booking.cancelled").message_id
    ]


def test_a_booking_that_was_confirmed_anew_is_confirmed(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    event = confirmation()
    cancelled = sample("booking.cancelled") | {"booking_id": event["booking_id"]}
    stub.publish(cancelled | {"timestamp": "2024-12-01T10:00:00Z"})
    stub.publish(event | {"timestamp": "2024-12-01T10:00:01Z"})
    assert len(mail_sink.mails) == 2


def test_a_cancellation_that_never_went_out_holds_up_nothing(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    event = confirmation()
    mail_sink.replies = ["550 5.7.1 no"]
    stub.publish(sample("booking.cancelled") | {"booking_id": event["booking_id"]})
    stub.publish(event)
    assert len(mail_sink.mails) == 1


# --- What got lost


def sweep(stub: Stub) -> int:
    count = deliveries.requeue_overdue(Dispatch(stub.broker, stub.topology))
    stub.join()
    return count


def test_a_delivery_whose_message_was_lost_is_queued_again(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    record = recorded(confirmation())
    assert sweep(stub) == 0, "it is not overdue yet"
    overdue(record)
    assert sweep(stub) == 1
    assert len(mail_sink.mails) == 1
    assert sweep(stub) == 0


def test_a_retry_whose_message_was_lost_is_queued_again(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    record = recorded(confirmation())
    claimed = deliveries.claim(str(record.id), LEASE)
    assert isinstance(claimed, Notification)
    deliveries.retry(claimed, timedelta(0), "451 later", counted=True)
    overdue(record)
    assert sweep(stub) == 1
    assert [attempt.outcome for attempt in record.reload().attempts] == ["retrying", "sent"]


def test_a_delivery_whose_worker_and_message_are_lost_is_queued_again(
    make_stub: Any, mail_sink: MailSink
) -> None:
    stub = make_stub()
    record = recorded(confirmation())
    deliveries.claim(str(record.id), LEASE)
    overdue(record)
    assert sweep(stub) == 1
    assert len(mail_sink.mails) == 1
    assert record.reload().abandoned == 1


def test_a_worker_looks_for_overdue_deliveries_by_itself(make_stub: Any, mail_sink: MailSink) -> None:
    record = recorded(confirmation())
    overdue(record)
    make_stub(sweeping=True)
    mail_sink.wait(1)


def test_what_waits_in_a_long_queue_is_queued_again_ever_more_rarely(make_stub: Any) -> None:
    record = recorded(confirmation())
    queued: list[Notification] = []
    waits = []
    for minutes in (6, 12, 24):
        created = utcnow() - timedelta(minutes=minutes)
        Notification.objects(id=record.id).update_one(set__created_at=created)
        overdue(record)
        deliveries.requeue_overdue(queued.append)
        waits.append(round((record.reload().due_at - utcnow()) / timedelta(minutes=1)))
    assert waits == [6, 12, 24]
    assert len(queued) == 3


def test_a_sweep_that_finds_no_broker_leaves_the_delivery_overdue(make_stub: Any) -> None:
    def away(_: Notification) -> None:
        raise ConnectionClosed("away")

    record = recorded(confirmation())
    overdue(record)
    with pytest.raises(ConnectionClosed):
        deliveries.requeue_overdue(away)
    assert record.reload().due_at < utcnow()


@pytest.mark.parametrize("reply", ["550 5.1.1 no such user", None], ids=["failed", "uncertain"])
def test_a_letter_that_the_broker_does_not_take_is_not_lost(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch, reply: str | None
) -> None:
    def unanswered(self: Any, notification: Notification) -> Mapping[str, Any]:
        raise Uncertain("no answer")

    if reply is None:
        monkeypatch.setattr("actors.channels.email.channel.EmailChannel.send", unanswered)
    mail_sink.replies = [reply] if reply else []
    stub = make_stub()
    refused = refused_once(stub, "send_email", monkeypatch)
    stub.publish(confirmation())
    assert refused
    assert stub.dead(EMAIL) == ["send_email"]
    assert stub.dead(EVENTS) == []
    record = Notification.objects.get()
    assert (record.status, len(record.attempts)) == ("failed" if reply else "uncertain", 1)


@pytest.mark.parametrize("error", [ConnectionClosed("away"), socket.gaierror("no such host")], ids=repr)
@pytest.mark.parametrize("here", [True, False], ids=["on the spot", "from the queue"])
def test_a_retry_that_the_broker_does_not_take_is_not_lost(
    make_stub: Any, mail_sink: MailSink, monkeypatch: pytest.MonkeyPatch, here: bool, error: Exception
) -> None:
    stub = make_stub()
    enqueue = stub.broker.enqueue

    def away_for_retries(message: Any, *, delay: int | None = None) -> Any:
        if delay:
            raise error
        return enqueue(message)

    mail_sink.replies = ["451 4.3.0 busy"]
    with monkeypatch.context() as patch:
        patch.setattr(stub.broker, "enqueue", away_for_retries)
        if here:
            stub.publish(confirmation())
        else:
            stub.send_email(recorded(confirmation()).id)
    assert stub.dead(EMAIL) == ([] if here else ["send_email"])
    assert stub.dead(EVENTS) == []
    record = Notification.objects.get()
    assert record.status == "retrying"
    Notification.objects.update_one(set__next_attempt_at=utcnow())
    overdue(record)
    assert sweep(stub) == 1
    assert len(mail_sink.mails) == 1


def test_an_error_that_nobody_foresaw_is_left_to_a_person(
    make_stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(self: Any, notification: Notification) -> Mapping[str, Any]:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("actors.channels.email.channel.EmailChannel.send", send)
    stub = make_stub()
    stub.publish(confirmation())
    record = Notification.objects.get()
    assert (record.status, record.error_message) == (
        "failed",
        "unforeseen ZeroDivisionError: division by zero",
    )
    assert stub.dead(EMAIL) == ["send_email"]


def test_a_second_message_does_not_use_up_the_retries_of_the_first(
    make_stub: Any, mail_sink: MailSink
) -> None:
    stub = make_stub()
    record = recorded(confirmation())
    claimed = deliveries.claim(str(record.id), LEASE)
    assert isinstance(claimed, Notification)
    deliveries.retry(claimed, timedelta(seconds=1), "451 later", counted=True)
    stub.send_email(record.id)
    stub.send_email(record.id)
    assert len(mail_sink.mails) == 1
    assert Notification.objects.get().sent_at >= claimed.created_at + timedelta(seconds=1)


def test_a_worker_that_lost_its_lease_changes_nothing_but_what_is_true(make_stub: Any) -> None:
    record = recorded(confirmation())
    late = deliveries.claim(str(record.id), LEASE)
    assert isinstance(late, Notification)
    overdue(record)
    assert isinstance(deliveries.claim(str(record.id), LEASE), Notification)
    deliveries.retry(late, timedelta(0), "451 later", counted=True)
    deliveries.end(late, DeliveryStatus.FAILED, "550 no")
    assert record.reload().status == "sending"
    deliveries.sent(late, utcnow(), subject="It was accepted")
    assert record.reload().status == "sent"


def test_a_delivery_that_kills_its_workers_is_given_up(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    record = recorded(confirmation())
    Notification.objects(id=record.id).update_one(set__abandoned=10)
    stub.send_email(record.id)
    assert record.reload().error_message == "10 workers took it and never said how it ended"
    assert stub.dead(EMAIL) == ["send_email"]
    assert mail_sink.mails == []


def test_what_was_accepted_while_mongodb_was_away_is_recorded_and_not_sent_again(
    make_stub: Any, mail_sink: MailSink, stored_settings: Settings
) -> None:
    stub = make_stub()
    record = recorded(confirmation())
    deliveries.claim(str(record.id), LEASE)
    accepted = utcnow()
    with redis.Redis.from_url(stored_settings.redis_url, decode_responses=True) as store:
        Receipts(store, stored_settings.namespace).keep(
            record, accepted, {"subject": "Yours", "message_id": "<a@b>"}
        )
    overdue(record)
    stub.send_email(record.id)
    found = record.reload()
    assert (found.status, found.sent_at, found.subject) == ("sent", accepted, "Yours")
    assert mail_sink.mails == []


def test_old_deliveries_are_forgotten_when_they_are_finished(make_stub: Any) -> None:
    make_stub().publish(confirmation())
    (finished,) = Notification.objects
    waiting = recorded(confirmation(event_id="evt_waiting"))
    Notification.objects.update(set__created_at=utcnow() - timedelta(days=91))
    recent = recorded(confirmation(event_id="evt_recent"))
    assert deliveries.forget(timedelta(days=92)) == 0
    assert deliveries.forget(timedelta(days=90)) == 1
    assert deliveries.forget(timedelta(days=90)) == 0
    assert {record.id for record in Notification.objects} == {waiting.id, recent.id}
    assert finished.id not in {record.id for record in Notification.objects}


# --- Postponed, and other channels


def test_a_delivery_that_is_postponed_uses_up_no_retry(
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


def test_a_mail_that_fails_for_good_leaves_the_text_with_the_booking_code(
    make_stub: Any, mail_sink: MailSink, log_lines: LogLines
) -> None:
    mail_sink.replies = ["550 5.1.1 no such user"]
    event = confirmation(user_phone="+14155552671", booking_id="BOOK-CODE-1")
    make_stub(sms_provider="console").publish(event)
    channels = {record.notification_type: record.status for record in Notification.objects}
    assert channels == {"email": "failed", "sms": "sent"}
    (text,) = [line["text"] for line in log_lines() if line["message"] == "sms"]
    assert "BOOK-CODE-1" in text

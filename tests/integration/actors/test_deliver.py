"""How `Deliver` handles each outcome of a channel, with a scripted channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from datetime import datetime, timedelta
from typing import Any, cast
from unittest.mock import Mock

import dramatiq
import pytest
from pymongo.errors import AutoReconnect, WTimeoutError

from actors import deliveries
from actors.deliver import Deliver, DeliveryFailed, surely
from actors.errors import DeliveryError, NotAllowed, Postponed, TemporaryFailure, Uncertain, Unsubscribed
from actors.receipts import Receipts
from actors.relevance import Review, review
from app import clock, models
from app.clock import iso, utcnow
from app.delivery_status import DeliveryStatus
from app.errors import ServiceUnavailable
from app.feedback.records import returned
from app.models import Notification
from app.settings import Settings
from app.telemetry import metrics
from tests.support.actors import LEASE, LogLines, Suppressed, confirmation, make_overdue, record_delivery

MAX_RETRIES = 2


class Channel:
    """Channel that returns fields or raises errors as scripted."""

    lease = LEASE
    hold_duration = timedelta(hours=1)
    is_quick = True

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.error: Exception | None = None

    def send(self, notification: Notification) -> Mapping[str, Any]:
        self.sent.append(str(notification.id))
        if self.error:
            raise self.error
        return {"subject": "Your booking"}

    def message_id(self, event_id: str) -> str | None:
        return None

    def close(self) -> None:
        """A sender without connections."""


class Memory:
    """Receipts in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[str, Any] | Uncertain] = {}

    def keep(self, notification: Notification, sent_at: datetime, fields: Mapping[str, Any]) -> None:
        self.kept[str(notification.id)] = {"sent_at": sent_at, **fields}

    def keep_uncertain(self, notification: Notification, reason: str) -> None:
        self.kept[str(notification.id)] = Uncertain(reason)

    def find(self, notification: Notification) -> dict[str, Any] | Uncertain | None:
        return self.kept.get(str(notification.id))


class Postponement(Postponed):
    """The channel asks for a pause of ten seconds."""

    seconds = 10.0


@pytest.fixture
def channel(stored_settings: Settings) -> Channel:
    models.connect(stored_settings)
    return Channel()


@pytest.fixture
def receipts() -> Memory:
    return Memory()


@pytest.fixture
def deliver(channel: Channel, receipts: Memory) -> Deliver:
    return Deliver(channel, cast(Receipts, receipts), MAX_RETRIES, Suppressed())


@pytest.fixture
def created(channel: Channel) -> Notification:
    """A delivery in its queue."""
    return record_delivery(confirmation(timestamp=iso(utcnow() - timedelta(hours=1))))


def delay_of(raised: pytest.ExceptionInfo[dramatiq.Retry]) -> int:
    """Return the milliseconds until the message is redelivered."""
    assert raised.value.delay is not None
    return raised.value.delay


def outcomes(delivery: Notification) -> list[str]:
    return [attempt.outcome for attempt in delivery.reload().attempts]


def counted(outcome: str) -> float:
    """Return how often the metric of deliveries counted `outcome`."""
    labels = {"channel": "email", "template": "booking_confirmation", "outcome": outcome}
    return metrics._REGISTRY.get_sample_value("movieapp_deliveries_total", labels) or 0.0


def counts_one(outcome: str) -> Callable[[], None]:
    """Returns a function that asserts that `outcome` was counted once since this call."""
    before = counted(outcome)

    def check() -> None:
        assert counted(outcome) == before + 1

    return check


def delivery_lines(log_lines: LogLines) -> list[tuple[str, str, str | None]]:
    return [
        (line["level"], line["status"], line.get("detail"))
        for line in log_lines()
        if line["message"] == "delivery"
    ]


def test_an_accepted_delivery_is_recorded_with_the_fields_of_its_channel(
    deliver: Deliver, channel: Channel, receipts: Memory, created: Notification, log_lines: LogLines
) -> None:
    check = counts_one("sent")
    deliver(str(created.id))
    found = created.reload()
    assert (found.status, found.subject, channel.sent) == ("sent", "Your booking", [str(created.id)])
    kept = receipts.kept[str(created.id)]
    assert kept["subject"] == "Your booking"
    assert timedelta(0) <= kept["sent_at"] - found.sent_at < timedelta(milliseconds=1)
    assert delivery_lines(log_lines) == [("info", "sent", None)]
    check()


def test_the_age_of_an_event_is_measured_when_it_is_sent(deliver: Deliver, created: Notification) -> None:
    def total() -> float:
        return (
            metrics._REGISTRY.get_sample_value("movieapp_event_age_seconds_sum", {"channel": "email"}) or 0.0
        )

    before = total()
    deliver(str(created.id))
    assert total() - before == pytest.approx(3_600, abs=120)


def test_a_finished_delivery_is_not_sent_again(
    deliver: Deliver, channel: Channel, created: Notification
) -> None:
    deliver(str(created.id))
    deliver(str(created.id))
    deliver(str(created.id), given_up=True)
    assert len(channel.sent) == 1


def test_the_message_of_an_abandoned_delivery_becomes_its_dead_letter(
    deliver: Deliver, channel: Channel, created: Notification
) -> None:
    Notification.objects(id=created.id).update_one(set__status="failed", unset__due_at=True)
    with pytest.raises(DeliveryFailed, match=r"^an earlier delivery attempt failed permanently$"):
        deliver(str(created.id))
    with pytest.raises(DeliveryFailed, match=r"^the inline delivery attempt failed permanently$"):
        deliver(str(created.id), given_up=True)
    assert channel.sent == []


def test_a_leased_delivery_is_tried_after_its_lease_expires(
    deliver: Deliver, channel: Channel, created: Notification
) -> None:
    deliveries.claim(str(created.id), utcnow() + LEASE)
    with pytest.raises(
        dramatiq.Retry, match=r"^the delivery is not due, or another worker holds its lease$"
    ) as retry:
        deliver(str(created.id))
    assert 0 < LEASE / timedelta(milliseconds=1) - delay_of(retry) < 60_000
    assert channel.sent == []


def test_a_message_that_arrives_early_waits_for_a_tenth_of_a_second(
    deliver: Deliver, created: Notification, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "claim", lambda *_: deliveries.Busy(utcnow()))
    with pytest.raises(dramatiq.Retry) as retry:
        deliver(str(created.id))
    assert delay_of(retry) == 100


def test_a_delivery_whose_acceptance_was_not_recorded_is_recorded_and_not_sent_again(
    deliver: Deliver, channel: Channel, receipts: Memory, created: Notification, log_lines: LogLines
) -> None:
    check = counts_one("sent")
    accepted = utcnow().replace(microsecond=0)
    receipts.keep(created, accepted, {"subject": "From the receipt"})
    deliveries.claim(str(created.id), utcnow() + LEASE)
    make_overdue(created)
    deliver(str(created.id))
    found = created.reload()
    assert (found.status, found.sent_at, found.subject) == ("sent", accepted, "From the receipt")
    assert channel.sent == []
    assert delivery_lines(log_lines) == [("info", "sent", "accepted earlier, recorded now")]
    check()


@pytest.mark.parametrize(("abandoned", "is_sent"), [(9, True), (10, False)])
def test_a_delivery_is_abandoned_after_ten_workers_were_lost(
    deliver: Deliver, channel: Channel, created: Notification, abandoned: int, is_sent: bool
) -> None:
    Notification.objects(id=created.id).update_one(set__abandoned=abandoned)
    if is_sent:
        deliver(str(created.id))
    else:
        with pytest.raises(
            DeliveryFailed, match=r"^10 workers claimed the delivery, and none recorded an outcome$"
        ):
            deliver(str(created.id))
    assert channel.sent == [str(created.id)] * is_sent
    assert created.reload().status == ("sent" if is_sent else "failed")


def test_a_late_delivery_is_skipped(
    deliver: Deliver, channel: Channel, created: Notification, log_lines: LogLines
) -> None:
    check = counts_one("skipped")
    past = iso(utcnow() - timedelta(days=1))
    Notification.objects(id=created.id).update_one(set__event_data=created.event_data | {"showtime": past})
    deliver(str(created.id))
    assert (created.reload().status, created.error_message) == ("skipped", "the showtime has passed")
    assert channel.sent == []
    assert delivery_lines(log_lines) == [("info", "skipped", "the showtime has passed")]
    check()


def test_a_postponed_delivery_keeps_its_retries(
    deliver: Deliver, channel: Channel, created: Notification, log_lines: LogLines
) -> None:
    check = counts_one("postponed")
    channel.error = Postponement("432 not now")
    began = utcnow()
    with pytest.raises(dramatiq.Retry, match="432 not now") as retry:
        deliver(str(created.id))
    assert 10_000 <= delay_of(retry) <= 15_000
    found = created.reload()
    assert (found.status, found.retry_count, found.error_message) == ("retrying", 0, "432 not now")
    assert found.next_attempt_at >= began + timedelta(seconds=10) - timedelta(milliseconds=1)
    assert outcomes(created) == []
    assert delivery_lines(log_lines) == []
    check()


def test_a_temporary_failure_is_retried_until_the_limit(
    deliver: Deliver, channel: Channel, created: Notification, log_lines: LogLines
) -> None:
    check = counts_one("failed")
    channel.error = TemporaryFailure("451 later")
    for retries in range(MAX_RETRIES):
        with pytest.raises(dramatiq.Retry, match="451 later") as retry:
            deliver(str(created.id))
        assert 1_000 <= delay_of(retry) <= 5_000 * 4**retries
        found = created.reload()
        assert (found.status, found.retry_count) == ("retrying", retries + 1)
        assert found.error_message == "451 later"
        Notification.objects(id=created.id).update_one(set__next_attempt_at=utcnow() - timedelta(seconds=1))
    with pytest.raises(DeliveryFailed, match="451 later"):
        deliver(str(created.id))
    assert created.reload().status == "failed"
    assert outcomes(created) == ["retrying", "retrying", "failed"]
    assert delivery_lines(log_lines) == [
        ("warning", "retrying", "451 later"),
        ("warning", "retrying", "451 later"),
        ("warning", "failed", "451 later"),
    ]
    check()


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (DeliveryError("550 no such user"), "failed", "550 no such user"),
        (Uncertain("no reply after DATA"), "uncertain", "no reply after DATA"),
        (ZeroDivisionError("by zero"), "failed", "unexpected ZeroDivisionError: by zero"),
    ],
    ids=["refused", "uncertain", "unexpected"],
)
def test_a_delivery_with_a_permanent_failure_becomes_a_dead_letter(
    deliver: Deliver, channel: Channel, created: Notification, error: Exception, status: str, detail: str
) -> None:
    check = counts_one(status)
    channel.error = error
    with pytest.raises(DeliveryFailed, match=detail):
        deliver(str(created.id))
    assert (created.reload().status, created.error_message) == (status, detail)
    assert (outcomes(created), created.due_at) == ([status], None)
    check()


@pytest.mark.parametrize(("error", "status"), [(None, "sent"), (DeliveryError("550 no"), "failed")])
def test_an_outcome_is_recorded_after_mongodb_recovers(
    deliver: Deliver,
    channel: Channel,
    created: Notification,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
    status: str,
) -> None:
    monkeypatch.setattr("actors.deliver.time", Clock())
    record: Any = {"sent": deliveries.sent, "failed": deliveries.end}[status]
    failures = [AutoReconnect("down"), AutoReconnect("down")]

    def fail_twice(*arguments: Any, **fields: Any) -> None:
        if failures:
            raise failures.pop()
        record(*arguments, **fields)

    monkeypatch.setattr(deliveries, record.__name__, fail_twice)
    channel.error = error
    with pytest.raises(DeliveryFailed) if error else nullcontext():
        deliver(str(created.id))
    assert (created.reload().status, failures) == (status, [])


@pytest.fixture
def outages(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a function of `deliveries` fail as often as given, as while MongoDB is unavailable."""

    def make(name: str, times: int) -> None:
        left, real = times, getattr(deliveries, name)

        def fail(*arguments: Any, **fields: Any) -> None:
            nonlocal left
            if left:
                left -= 1
                raise AutoReconnect("down")
            real(*arguments, **fields)

        monkeypatch.setattr(deliveries, name, fail)

    return make


def test_twelve_outages_of_mongodb_count_against_no_delivery(
    deliver: Deliver, channel: Channel, created: Notification, outages: Callable[..., None]
) -> None:
    channel.error = TemporaryFailure("451 greylisted")
    outages("retry", 12)
    for _ in range(12):
        with pytest.raises(AutoReconnect):
            deliver(str(created.id))
    channel.error = None
    deliver(str(created.id))
    assert (created.reload().status, created.abandoned, created.excused) == ("sent", 12, 12)


def test_an_outage_that_outlasts_the_lease_counts_against_no_delivery(
    deliver: Deliver, channel: Channel, created: Notification, outages: Callable[..., None]
) -> None:
    channel.error = TemporaryFailure("451 greylisted")
    outages("retry", 1)
    outages("give_back", 1)
    with pytest.raises(AutoReconnect):
        deliver(str(created.id))
    make_overdue(created)
    taken = deliveries.claim(str(created.id), utcnow() + LEASE)
    assert isinstance(taken, Notification)
    deliver.catch_up()
    deliver.catch_up()  # nothing is left
    found = created.reload()
    assert (found.abandoned, found.excused, found.due_at) == (1, 1, taken.due_at), "its new lease holds"


def test_a_delivery_given_back_without_a_majority_is_excused_once(
    deliver: Deliver, channel: Channel, created: Notification, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel.error = AutoReconnect("down")
    real = Notification.compare_and_set

    def write(expected: dict[str, Any], update: dict[str, Any]) -> bool:
        applied = real(expected, update)
        if "excused" in update.get("$inc", {}):
            raise WTimeoutError("waiting for replication timed out")
        return applied

    monkeypatch.setattr(Notification, "compare_and_set", write)
    with pytest.raises(AutoReconnect):
        deliver(str(created.id))
    deliver.catch_up()
    assert (created.reload().excused, created.due_at < utcnow()) == (1, True)


def test_claims_without_a_majority_count_against_no_delivery(
    deliver: Deliver, channel: Channel, created: Notification, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Notification.compare_and_set

    def write(expected: dict[str, Any], update: dict[str, Any]) -> bool:
        real(expected, update)
        raise WTimeoutError("waiting for replication timed out")

    with monkeypatch.context() as outage:
        outage.setattr(Notification, "compare_and_set", write)
        for _ in range(12):
            with pytest.raises(WTimeoutError):
                deliver(str(created.id))
            make_overdue(created)
            with pytest.raises(WTimeoutError):
                deliveries.requeue_overdue(pytest.fail)
    assert channel.sent == []
    deliver.catch_up()
    deliver(str(created.id))
    assert (created.reload().status, created.abandoned, created.excused) == ("sent", 12, 12)


def test_a_claim_that_was_not_carried_out_is_not_excused(
    deliver: Deliver, created: Notification, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries.claim(str(created.id), utcnow() + LEASE)
    with monkeypatch.context() as outage:
        outage.setattr(Notification, "compare_and_set", Mock(side_effect=AutoReconnect("down")))
        with pytest.raises(AutoReconnect):
            deliver(str(created.id))
    deliver.catch_up()
    assert (created.reload().status, created.excused) == ("sending", 0)


@pytest.mark.parametrize(
    ("error", "record", "status"),
    [
        (None, "sent", "sent"),
        (Uncertain("no reply after DATA"), "end", "uncertain"),
        (DeliveryError("550 no such user"), "end", "failed"),
    ],
)
def test_an_outcome_is_recorded_after_an_outage_of_hours_and_nothing_is_sent_again(
    deliver: Deliver,
    channel: Channel,
    receipts: Memory,
    created: Notification,
    outages: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
    record: str,
    status: str,
) -> None:
    monkeypatch.setattr("actors.deliver.time", Clock())
    outages(record, 200)
    channel.error = error
    with pytest.raises(DeliveryFailed) if error else nullcontext():
        deliver(str(created.id))
    receipts.kept.clear()  # Redis was unavailable too
    for _ in range(100):
        with suppress(AutoReconnect):
            deliver.catch_up()
    assert created.reload().status == status
    assert channel.sent == [str(created.id)]


def test_an_uncertain_delivery_is_not_sent_by_the_worker_that_takes_it_over(
    deliver: Deliver,
    channel: Channel,
    receipts: Memory,
    created: Notification,
    outages: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actors.deliver.time", Clock())
    outages("end", 122)
    channel.error = Uncertain("no reply after DATA")
    with pytest.raises(DeliveryFailed):
        deliver(str(created.id))
    make_overdue(created)
    successor = Deliver(channel, cast(Receipts, receipts), MAX_RETRIES, Suppressed())
    with pytest.raises(DeliveryFailed, match="no reply after DATA"):
        successor(str(created.id))
    assert (created.reload().status, len(channel.sent)) == ("uncertain", 1)


def test_an_outage_during_the_look_for_a_suppression_counts_against_no_delivery(
    channel: Channel, receipts: Memory, created: Notification, monkeypatch: pytest.MonkeyPatch
) -> None:
    suppressed = Suppressed()
    deliver = Deliver(channel, cast(Receipts, receipts), MAX_RETRIES, suppressed)
    with monkeypatch.context() as outage:
        outage.setattr(suppressed, "check", Mock(side_effect=ServiceUnavailable("down")))
        with pytest.raises(ServiceUnavailable):
            deliver(str(created.id))
    deliver(str(created.id))
    assert (created.reload().status, created.abandoned, created.excused) == ("sent", 1, 1)


def test_an_outage_while_a_mail_is_rendered_does_not_fail_it(
    deliver: Deliver, channel: Channel, created: Notification
) -> None:
    channel.error = AutoReconnect("down")
    with pytest.raises(AutoReconnect):
        deliver(str(created.id))
    channel.error = None
    deliver(str(created.id))
    assert created.reload().status == "sent"


class Clock:
    """Replacement for `time` in which sleeping takes no time."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_an_action_is_repeated_for_a_minute_of_outage_every_half_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actors.deliver.time", clock := Clock())
    tried: list[float] = []

    def act() -> None:
        tried.append(clock.now)
        raise OSError("down")

    with pytest.raises(OSError, match="down"):
        surely(act, (OSError,))
    assert tried == [number / 2 for number in range(122)]


def test_an_error_other_than_an_outage_is_raised_immediately() -> None:
    tried: list[None] = []

    def act() -> None:
        tried.append(None)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        surely(act, (OSError,))
    assert len(tried) == 1


def test_a_recipient_that_must_not_get_it_is_skipped(
    channel: Channel, deliver: Deliver, created: Notification
) -> None:
    channel.error = NotAllowed("SMS_COUNTRIES does not allow DE")
    deliver(str(created.id))
    delivery = created.reload()
    assert (delivery.status, delivery.error_message) == ("skipped", "SMS_COUNTRIES does not allow DE")


def test_a_suppressed_recipient_is_skipped_and_not_counted(
    channel: Channel, receipts: Memory, created: Notification
) -> None:
    deliver = Deliver(
        channel, cast(Receipts, receipts), MAX_RETRIES, Suppressed("hard_bounce"), lambda _: pytest.fail()
    )
    deliver(str(created.id))
    delivery = created.reload()
    assert (delivery.status, delivery.error_message, delivery.due_at) == ("skipped", "suppressed", None)
    assert delivery.attempts[-1].detail == "suppressed: hard_bounce"
    assert channel.sent == []


def test_a_recipient_who_has_unsubscribed_is_reported_and_skipped(
    channel: Channel, receipts: Memory, created: Notification
) -> None:
    suppressed = Suppressed()
    channel.error = Unsubscribed("error 21610")
    Deliver(channel, cast(Receipts, receipts), MAX_RETRIES, suppressed)(str(created.id))
    delivery = created.reload()
    assert [each.id for each in suppressed.reported] == [created.id]
    assert (delivery.status, delivery.error_message) == ("skipped", "suppressed")


def test_a_worker_whose_lease_ended_before_sending_leaves_the_delivery_to_the_next(
    deliver: Deliver, channel: Channel, created: Notification, monkeypatch: pytest.MonkeyPatch
) -> None:
    thawed = utcnow() + 2 * LEASE

    def freeze(notification: Notification, now: datetime) -> Review:
        monkeypatch.setattr(clock, "source", lambda: thawed)
        return review(notification, now)

    monkeypatch.setattr("actors.deliver.review", freeze)
    claimed = deliveries.claim(str(created.id), utcnow() + LEASE)
    assert isinstance(claimed, Notification)
    with pytest.raises(dramatiq.Retry, match="the lease ended before sending") as retry:
        deliver.attempt(claimed)
    assert delay_of(retry) == 100
    assert channel.sent == []
    assert created.reload().to_mongo() == claimed.to_mongo()
    deliver(str(created.id))
    assert (created.reload().status, created.abandoned, len(channel.sent)) == ("sent", 1, 1)


def test_a_delivery_settled_by_a_report_during_its_claim_is_not_sent(
    deliver: Deliver, channel: Channel, created: Notification
) -> None:
    claimed = deliveries.claim(str(created.id), utcnow() + LEASE)
    assert isinstance(claimed, Notification)
    returned(claimed, DeliveryStatus.BOUNCED, "550 no such user", utcnow())
    with pytest.raises(dramatiq.Retry):
        deliver.attempt(claimed.reload())
    deliver(str(created.id))
    assert (created.reload().status, channel.sent) == ("bounced", [])


def test_a_delivery_over_a_limit_is_skipped(
    channel: Channel, receipts: Memory, created: Notification
) -> None:
    deliver = Deliver(
        channel, cast(Receipts, receipts), MAX_RETRIES, Suppressed(), lambda _: "too many messages"
    )
    deliver(str(created.id))
    delivery = created.reload()
    assert (delivery.status, delivery.error_message) == ("skipped", "too many messages")
    assert channel.sent == []

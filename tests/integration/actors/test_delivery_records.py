"""Every transition of one delivery's record, with a fixed clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dramatiq.errors import ConnectionClosed

from actors import deliveries
from actors.deliveries import Busy
from app import models
from app.channels import ChannelName
from app.delivery_status import DeliveryStatus
from app.events.decode import InvalidEvent
from app.events.samples import sample
from app.models import GRACE, Notification
from app.settings import Settings
from tests.support.actors import LogLines

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
LEASE = timedelta(minutes=3)
SECOND = timedelta(seconds=1)
TICK = timedelta(milliseconds=1)

SetClock = Callable[[timedelta], None]


@pytest.fixture(autouse=True)
def set_clock(stored_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Connect to MongoDB. The clock shows NOW until the test advances it."""
    models.connect(stored_settings)

    def set_to(after: timedelta) -> None:
        monkeypatch.setattr(deliveries, "utcnow", lambda: NOW + after)

    set_to(timedelta(0))
    return set_to


def new(event_id: str = "evt_1", recipient: str | None = "jane@example.com", **options: Any) -> Notification:
    """A new delivery by email, in its queue unless `lease` is given."""
    event = sample("booking.confirmed") | {"event_id": event_id}
    created, is_new = deliveries.record(
        event, ChannelName.EMAIL, "booking_confirmation", recipient, **options
    )
    assert is_new
    return created


def claim(notification_id: str) -> Notification | Busy | None:
    """Claim a delivery for LEASE, from the time that the clock shows."""
    return deliveries.claim(notification_id, deliveries.utcnow() + LEASE)  # type: ignore[attr-defined]


def claimed(event_id: str = "evt_1") -> Notification:
    """A new delivery that this worker holds until NOW + LEASE."""
    taken = claim(str(new(event_id).id))
    assert isinstance(taken, Notification)
    return taken


def outcomes(delivery: Notification) -> list[tuple[str, str]]:
    return [(attempt.outcome, attempt.detail) for attempt in delivery.reload().attempts]


# --- Recorded


def test_a_new_delivery_waits_in_its_queue() -> None:
    created = new().reload()
    assert (created.status, created.due_at, created.created_at) == ("queued", NOW + GRACE, NOW)
    assert (created.event_type, created.booking_id) == (
        "booking.confirmed",
        sample("booking.confirmed")["booking_id"],
    )
    assert (created.recipient, created.template) == ("jane@example.com", "booking_confirmation")
    assert (created.error_message, created.retry_count, created.abandoned) == (None, 0, 0)


def test_a_delivery_keeps_the_trace_of_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.telemetry.tracing.traceparent", lambda: "00-1-2-01")
    assert new().reload().traceparent == "00-1-2-01"


def test_a_new_delivery_with_a_lease_belongs_to_the_caller() -> None:
    created = new(lease=LEASE)
    assert (created.reload().status, created.due_at) == ("sending", NOW + LEASE)
    assert claim(str(created.id)) == Busy(NOW + LEASE)


@pytest.mark.parametrize("lease", [None, LEASE])
def test_a_delivery_without_a_recipient_is_skipped_and_never_queued(
    set_clock: SetClock, lease: timedelta | None, log_lines: LogLines
) -> None:
    created = new(recipient=None, lease=lease).reload()
    (line,) = (line for line in log_lines() if line["message"] == "delivery")
    assert (line["status"], line["detail"]) == ("skipped", "the event names no recipient")
    assert (created.status, created.error_message, created.due_at) == (
        "skipped",
        "the event names no recipient",
        None,
    )
    set_clock(timedelta(days=1))
    assert deliveries.requeue_overdue(pytest.fail) == 0


def test_a_repeated_event_finds_its_delivery(log_lines: LogLines) -> None:
    new("evt_0")
    first = new()
    event = dict(first.event_data)
    again, is_new = deliveries.record(event, ChannelName.EMAIL, "booking_confirmation", "jane@example.com")
    assert (again.id, is_new) == (first.id, False)
    other, is_new = deliveries.record(event, ChannelName.SMS, "booking_confirmation", "+14155552671")
    assert (other.id != first.id, is_new) == (True, True)
    again, is_new = deliveries.record(event, ChannelName.SMS, "booking_confirmation", "+14155552671")
    assert (again.id, is_new) == (other.id, False)
    assert log_lines() == []


def test_a_different_event_with_the_same_id_reports_the_differing_fields() -> None:
    event = dict(new().event_data)
    changed = event | {"seats": ["Z9"], "extra": 1}
    with pytest.raises(deliveries.ConflictingEvent, match=r"has different values for extra, seats$"):
        deliveries.record(changed, ChannelName.EMAIL, "booking_confirmation", "jane@example.com")


def test_the_list_of_differing_fields_is_truncated() -> None:
    event = dict(new().event_data)
    with pytest.raises(deliveries.ConflictingEvent, match=r"different values for x{300}$"):
        deliveries.record(
            event | {"x" * 400: 1}, ChannelName.EMAIL, "booking_confirmation", "jane@example.com"
        )


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (10**30, "^a number in the event has more than 64 bits$"),
        ("\ud800", "the delivery can't be stored: .+surrogates not allowed"),
    ],
)
def test_an_event_that_cannot_be_stored_is_invalid(value: object, reason: str) -> None:
    event = sample("booking.confirmed") | {"extra": value}
    with pytest.raises(InvalidEvent, match=reason):
        deliveries.record(event, ChannelName.EMAIL, "booking_confirmation", "jane@example.com")


# --- Claimed


def test_a_claim_takes_only_the_named_delivery() -> None:
    first, second, third = (new(f"evt_{number}") for number in range(3))
    taken = claim(str(second.id))
    assert isinstance(taken, Notification)
    assert (taken.id, taken.status, taken.due_at) == (second.id, "sending", NOW + LEASE)
    assert [first.reload().status, third.reload().status] == ["queued", "queued"]


def test_a_claim_without_a_record_finds_nothing() -> None:
    new()
    assert claim("0" * 24) is None


@pytest.mark.parametrize("status", ["sent", "skipped", "failed", "uncertain"])
def test_a_finished_delivery_is_not_claimed(set_clock: SetClock, status: str) -> None:
    created = new()
    Notification.objects(id=created.id).update_one(set__status=status)
    set_clock(timedelta(days=1))
    assert claim(str(created.id)) is None
    assert created.reload().status == status


def test_a_delivery_is_claimed_after_its_lease_and_its_worker_counted_as_lost(
    set_clock: SetClock,
) -> None:
    held = claimed()
    for after in (timedelta(0), LEASE):
        set_clock(after)
        assert claim(str(held.id)) == Busy(NOW + LEASE)
    assert held.reload().abandoned == 0
    set_clock(LEASE + TICK)
    taken = claim(str(held.id))
    assert isinstance(taken, Notification)
    assert (taken.status, taken.abandoned, taken.due_at) == ("sending", 1, NOW + LEASE + TICK + LEASE)


def test_a_retry_is_claimed_when_it_is_due(set_clock: SetClock) -> None:
    held = claimed()
    deliveries.retry(held, SECOND, "451 later", counted=True)
    set_clock(SECOND - TICK)
    assert claim(str(held.id)) == Busy(NOW + SECOND)
    set_clock(SECOND)
    taken = claim(str(held.id))
    assert isinstance(taken, Notification)
    assert (taken.status, taken.abandoned) == ("sending", 0)


def test_a_delivery_that_is_queued_again_during_a_claim_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    created = new()
    monkeypatch.setattr(Notification, "compare_and_set", lambda *_: False)
    assert claim(str(created.id)) == Busy(NOW)


# --- Finished or retried


def test_a_sent_delivery_is_recorded_once_with_the_fields_of_its_channel(set_clock: SetClock) -> None:
    held = claimed()
    deliveries.retry(held, timedelta(0), "451 later", counted=True)
    taken = claim(str(held.id))
    assert isinstance(taken, Notification)
    for _ in range(2):
        deliveries.sent(taken, NOW - SECOND, subject="Your booking", message_id="<1@example.com>")
    found = held.reload()
    assert (found.status, found.sent_at, found.subject) == ("sent", NOW - SECOND, "Your booking")
    assert (found.message_id, found.error_message, found.due_at) == ("<1@example.com>", None, None)
    assert outcomes(held) == [("retrying", "451 later"), ("sent", "")]
    assert [attempt.at for attempt in found.attempts] == [NOW, NOW]
    set_clock(timedelta(days=1))
    assert deliveries.requeue_overdue(pytest.fail) == 0


def test_an_accepted_mail_is_recorded_as_sent_whoever_holds_the_lease() -> None:
    held = claimed()
    Notification.objects(id=held.id).update_one(set__due_at=NOW + LEASE + SECOND)
    other = new("evt_2")
    deliveries.sent(held, NOW)
    assert (held.reload().status, other.reload().status) == ("sent", "queued")


@pytest.mark.parametrize("counted", [True, False])
def test_a_retry_counts_only_when_the_delivery_was_tried(counted: bool) -> None:
    other, held = claimed("evt_0"), claimed()
    deliveries.retry(held, SECOND, "451 later", counted=counted)
    found = held.reload()
    assert (found.status, found.error_message, found.retry_count) == ("retrying", "451 later", int(counted))
    assert (found.next_attempt_at, found.due_at) == (NOW + SECOND, NOW + SECOND + GRACE)
    assert outcomes(held) == [("retrying", "451 later")] * counted
    assert [attempt.at for attempt in found.attempts] == [NOW] * counted
    assert other.reload().status == "sending"


@pytest.mark.parametrize("status", [DeliveryStatus.FAILED, DeliveryStatus.SKIPPED, DeliveryStatus.UNCERTAIN])
def test_an_ended_delivery_is_never_queued_again(set_clock: SetClock, status: DeliveryStatus) -> None:
    other, held = claimed("evt_0"), claimed()
    deliveries.end(held, status, "550 no such user")
    found = held.reload()
    assert (found.status, found.error_message, found.due_at) == (status, "550 no such user", None)
    assert outcomes(held) == [(status, "550 no such user")]
    assert found.attempts[0].at == NOW
    assert other.reload().status == "sending"
    deliveries.end(other, status, "no")
    set_clock(timedelta(days=1))
    assert deliveries.requeue_overdue(pytest.fail) == 0


def test_only_the_holder_of_the_lease_may_end_or_retry() -> None:
    held = claimed()
    Notification.objects(id=held.id).update_one(set__due_at=NOW + LEASE + SECOND)
    deliveries.end(held, DeliveryStatus.FAILED, "550 no")
    deliveries.retry(held, SECOND, "451 later", counted=True)
    assert (held.reload().status, held.error_message, outcomes(held)) == ("sending", None, [])
    Notification.objects(id=held.id).update_one(set__status="sent")
    deliveries.end(held, DeliveryStatus.FAILED, "550 no")
    assert held.reload().status == "sent"


@pytest.mark.parametrize("status", list(DeliveryStatus))
def test_a_failed_or_uncertain_delivery_is_abandoned(status: DeliveryStatus) -> None:
    created, failed = new(), new("evt_2")
    Notification.objects(id=created.id).update_one(set__status=status)
    Notification.objects(id=failed.id).update_one(set__status="failed")
    assert deliveries.is_given_up(str(created.id)) is (status in ("failed", "uncertain"))


# --- Swept


def test_an_overdue_delivery_is_queued_again_with_twice_the_wait(set_clock: SetClock) -> None:
    created = new()
    set_clock(GRACE)
    assert deliveries.requeue_overdue(pytest.fail) == 0
    queued: list[Notification] = []
    set_clock(GRACE + SECOND)
    assert deliveries.requeue_overdue(queued.append) == 1
    assert [(each.id, each.notification_type) for each in queued] == [(created.id, "email")]
    found = created.reload()
    assert (found.status, found.abandoned, found.due_at) == ("queued", 0, NOW + 2 * (GRACE + SECOND))


def test_the_delivery_of_a_lost_worker_is_queued_and_counted(set_clock: SetClock) -> None:
    held = claimed()
    set_clock(LEASE + SECOND)
    assert deliveries.requeue_overdue(lambda _: None) == 1
    found = held.reload()
    assert (found.status, found.abandoned, found.due_at) == ("queued", 1, NOW + LEASE + SECOND + GRACE)


def test_the_longest_overdue_deliveries_come_first_in_a_limited_batch(
    set_clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_BATCH_SIZE", 2)
    for number in (2, 0, 1):
        set_clock(number * SECOND)
        new(f"evt_{number}")
    set_clock(timedelta(hours=1))
    queued: list[Notification] = []
    assert [deliveries.requeue_overdue(queued.append) for _ in range(3)] == [2, 1, 0]
    assert [each.reload().event_id for each in queued] == ["evt_0", "evt_1", "evt_2"]


class Killed(BaseException):
    """The process died: no handler of errors runs."""


def test_a_delivery_that_the_broker_refuses_stays_overdue(set_clock: SetClock) -> None:
    def no_broker(_: Notification) -> None:
        raise ConnectionClosed("down")

    created = new()
    set_clock(GRACE + SECOND)
    with pytest.raises(ConnectionClosed):
        deliveries.requeue_overdue(no_broker)
    assert created.reload().due_at == NOW + GRACE
    assert deliveries.requeue_overdue(lambda _: None) == 1


def test_a_delivery_whose_sweep_is_killed_is_overdue_again_after_30_seconds(set_clock: SetClock) -> None:
    def die(_: Notification) -> None:
        raise Killed

    held = claimed()
    set_clock(LEASE + SECOND)
    with pytest.raises(Killed):
        deliveries.requeue_overdue(die)
    found = held.reload()
    assert (found.status, found.abandoned) == ("queued", 1)
    set_clock(LEASE + 31 * SECOND)
    assert deliveries.requeue_overdue(pytest.fail) == 0, "another sweep may be about to queue it"
    set_clock(LEASE + 32 * SECOND)
    assert deliveries.requeue_overdue(lambda _: None) == 1
    found = held.reload()
    assert (found.abandoned, found.due_at) == (1, NOW + LEASE + 32 * SECOND + GRACE)


def test_a_sweep_does_not_change_a_delivery_that_a_worker_has_taken_from_the_queue(
    set_clock: SetClock,
) -> None:
    def take(queued: Notification) -> None:
        claim(str(queued.id))

    created = new()
    set_clock(GRACE + SECOND)
    assert deliveries.requeue_overdue(take) == 1
    found = created.reload()
    assert (found.status, found.due_at) == ("sending", NOW + GRACE + SECOND + LEASE)


@pytest.mark.parametrize(
    "changes",
    [{"set__status": "sending"}, {"set__due_at": NOW + timedelta(hours=1)}, {"set__status": "sent"}],
    ids=["claimed", "queued again", "sent"],
)
def test_a_delivery_that_changed_during_the_sweep_is_skipped(
    set_clock: SetClock, changes: dict[str, Any]
) -> None:
    deliveries_made = [new(f"evt_{number}") for number in range(3)]
    set_clock(GRACE + SECOND)
    queued: list[Notification] = []

    def move_the_second(delivery: Notification) -> None:
        queued.append(delivery)
        if len(queued) == 1:
            Notification.objects(id=deliveries_made[1].id).update_one(**changes)

    assert deliveries.requeue_overdue(move_the_second) == 2
    assert [each.id for each in queued] == [deliveries_made[0].id, deliveries_made[2].id]
    second = deliveries_made[1].reload()
    assert (second.status, second.due_at) in (
        ("sending", NOW + GRACE),
        ("queued", NOW + timedelta(hours=1)),
        ("sent", NOW + GRACE),
    )


@pytest.mark.parametrize("status", list(DeliveryStatus))
def test_only_finished_deliveries_older_than_the_limit_are_deleted(
    set_clock: SetClock, status: DeliveryStatus
) -> None:
    created = new()
    Notification.objects(id=created.id).update_one(set__status=status)
    set_clock(timedelta(days=90))
    assert deliveries.forget(timedelta(days=90)) == 0
    set_clock(timedelta(days=90) + SECOND)
    finished = status not in ("queued", "sending", "retrying")
    assert deliveries.forget(timedelta(days=90)) == int(finished)
    assert Notification.objects.count() == int(not finished)


def test_the_oldest_deliveries_are_deleted_first_in_batches(
    set_clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_BATCH_SIZE", 1)
    for number in (1, 0):
        set_clock(number * SECOND)
        new(f"evt_{number}", recipient=None)
    set_clock(timedelta(days=1))
    assert deliveries.forget(timedelta(0)) == 1
    assert [left.event_id for left in Notification.objects] == ["evt_1"]
    assert [deliveries.forget(timedelta(0)) for _ in range(2)] == [1, 0]

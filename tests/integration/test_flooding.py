"""Limits of messages to one recipient and about one booking, on Redis and in memory."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis

from actors.flooding import RecipientLimits
from app.settings import Settings

if TYPE_CHECKING:
    from app.models import Notification

RECIPIENT = "too many messages to this recipient (RECIPIENT_LIMITS)"
BOOKING = "too many messages about this booking (RECIPIENT_LIMITS)"
REPORTED = "a failed payment of this booking was reported within the last hour"
BUDGETS = Settings(_env_file=None).recipient_budgets
_ids = itertools.count()


class Clock:
    """A clock that the test moves."""

    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["redis", "memory"])
def limits(request: pytest.FixtureRequest, clock: Clock) -> Iterator[RecipientLimits]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else "redis://127.0.0.1:1/0"
    namespace = f"test-{uuid.uuid4().hex}."
    with redis.Redis.from_url(url) as store:
        yield RecipientLimits(store, namespace, BUDGETS, clock)
        if request.param == "redis":
            for key in store.scan_iter(f"{namespace}*"):
                store.delete(key)


def delivery(**fields: Any) -> Notification:
    values = {
        "id": f"N-{next(_ids)}",
        "notification_type": "email",
        "recipient": "jane.doe@example.com",
        "booking_id": f"B-{next(_ids)}",
        "event_type": "booking.confirmed",
    }
    return cast("Notification", SimpleNamespace(**values | fields))


def test_messages_to_a_phone_are_limited(limits: RecipientLimits) -> None:
    sms = {"notification_type": "sms", "recipient": "+14155550123"}
    outcomes = [limits.exceeded(delivery(**sms)) for _ in range(35)]
    assert outcomes == [None] * 15 + [RECIPIENT] * 20
    assert limits.exceeded(delivery(notification_type="sms", recipient="+14155550199")) is None


def test_messages_to_a_mailbox_are_limited_regardless_of_case(limits: RecipientLimits) -> None:
    addresses = ("jane.doe@example.com", "Jane.Doe@Example.com")
    outcomes = [limits.exceeded(delivery(recipient=addresses[number % 2])) for number in range(40)]
    assert outcomes == [None] * 30 + [RECIPIENT] * 10


def test_recipients_of_a_booking_are_limited(limits: RecipientLimits) -> None:
    outcomes = [
        limits.exceeded(delivery(booking_id="B", recipient=f"{number}@example.com")) for number in range(20)
    ]
    assert outcomes == [None] * 15 + [BOOKING] * 5


def test_failed_payments_of_one_booking_are_reported_hourly(limits: RecipientLimits, clock: Clock) -> None:
    failed = {"booking_id": "B", "event_type": "payment.failed"}
    outcomes = [limits.exceeded(delivery(**failed)) for _ in range(118)]
    assert outcomes == [None] + [REPORTED] * 117
    assert limits.exceeded(delivery(booking_id="B", event_type="payment.success")) is None
    assert limits.exceeded(delivery(**failed, notification_type="sms", recipient="+14155550123")) is None
    clock.now += 3_601
    assert limits.exceeded(delivery(**failed)) is None


def test_a_retry_is_counted_once(limits: RecipientLimits) -> None:
    one = delivery(booking_id="B", event_type="payment.failed")
    assert [limits.exceeded(one) for _ in range(50)] == [None] * 50


def test_the_daily_limit_lasts_longer_than_the_hourly_limit(limits: RecipientLimits, clock: Clock) -> None:
    sent = 0
    for _ in range(60):
        sent += limits.exceeded(delivery(notification_type="sms", recipient="+14155550123")) is None
        clock.now += 600
    assert sent == 30
    clock.now += 86_400
    assert limits.exceeded(delivery(notification_type="sms", recipient="+14155550123")) is None


def test_a_usual_evening_stays_below_the_limits(limits: RecipientLimits) -> None:
    events = ("payment.failed", "payment.success", "booking.confirmed", "booking.updated", "payment.refund")
    for booking, event, channel in itertools.product(("B-1", "B-2"), events, ("email", "sms")):
        recipient = "+14155550123" if channel == "sms" else "jane.doe@example.com"
        about = delivery(booking_id=booking, event_type=event, notification_type=channel, recipient=recipient)
        assert limits.exceeded(about) is None


def test_without_limits_nothing_is_counted(clock: Clock) -> None:
    limits = RecipientLimits(redis.Redis.from_url("redis://127.0.0.1:1/0"), "x", {}, clock)
    assert [limits.exceeded(delivery(booking_id="B", event_type="payment.failed")) for _ in range(50)] == [
        None
    ] * 50

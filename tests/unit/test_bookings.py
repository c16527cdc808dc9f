"""The current state of a booking follows from its events' timestamps, in any order of recording."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count, permutations
from typing import Any

import pytest
from bson import ObjectId

from actors.bookings import Fact, current_state, outdated
from app.events.samples import sample

NOON = datetime(2026, 12, 3, 12, 0, tzinfo=UTC)
CONFIRMED = sample("booking.confirmed") | {"booking_id": "BOOK-1", "total_amount": 30, "currency": "USD"}

_numbers = count()


def fact(event_type: str, minute: int, **changes: Any) -> Fact:
    """Return an event `minute` minutes after noon, about the same booking as `CONFIRMED`."""
    number = next(_numbers)
    timestamp = (NOON + timedelta(minutes=minute)).isoformat()
    base = {name: value for name, value in CONFIRMED.items() if name != "previous"}
    event = base | {"event_type": event_type, "event_id": f"evt_{number}", "timestamp": timestamp}
    event |= changes
    recorded_at = NOON + timedelta(days=1, seconds=number)
    return Fact(event["event_id"], event_type, event, recorded_at, ObjectId())


def confirmed(minute: int, **changes: Any) -> Fact:
    return fact("booking.confirmed", minute, **changes)


def updated(minute: int, **changes: Any) -> Fact:
    return fact("booking.updated", minute, **changes)


def cancelled(minute: int) -> Fact:
    return fact("booking.cancelled", minute)


def refunded(amount: Any, minute: int = 5, event_type: str = "payment.refund", **changes: Any) -> Fact:
    return fact(event_type, minute, refund_amount=amount, refund_transaction_id=f"REF-{amount}", **changes)


def test_a_state_is_current_until_another_is_known() -> None:
    assert outdated(CONFIRMED, []) is None
    assert outdated(CONFIRMED, [confirmed(0)]) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"showtime": "2036-12-16T20:00:00-05:00"},
        {"screen": "Screen 9"},
        {"cinema_name": "Roxy"},
        {"seats": ["Z1"]},
    ],
)
def test_an_update_supersedes_the_earlier_state_in_any_order_of_arrival(changes: dict[str, Any]) -> None:
    previous = {name: CONFIRMED[name] for name in changes}
    first, second = confirmed(0), updated(1, **changes, previous=previous)
    for facts in permutations([first, second]):
        assert current_state(facts) is second
        assert outdated(first.event, facts) == "the booking has changed since"
        assert outdated(second.event, facts) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"tickets": [{"seat": "B5", "code": "other"}]},
        {"movie_title": "The 3rd Man"},
        {"seats": CONFIRMED["seats"][::-1]},
    ],
)
def test_an_update_without_a_message_supersedes_nothing(changes: dict[str, Any]) -> None:
    # No message about the update carries the ticket, so the reminder must.
    previous = {name: CONFIRMED.get(name, "") for name in changes if name != "tickets"}
    first, second = confirmed(0), updated(1, **changes, previous=previous)
    for facts in permutations([first, second]):
        assert outdated(first.event, facts) is None
    confirmed_again = confirmed(2, **changes)
    assert outdated(first.event, [first, second, confirmed_again]) == "the booking has changed since"


def test_an_update_without_a_message_supersedes_a_reminder_of_another_showtime() -> None:
    first = confirmed(0)
    moved = {"showtime": "2036-12-16T20:00:00-05:00"}
    updates = [updated(1, **moved, previous={"showtime": CONFIRMED["showtime"]}), updated(2, **moved)]
    assert outdated(first.event, [first, *updates]) == "the booking has changed since"


def test_a_later_state_with_the_same_ticket_supersedes_nothing() -> None:
    first, second = confirmed(0), updated(1, total_amount=25, directions_url=None)
    same_time = updated(2, showtime="2036-12-16T01:00:00Z", timezone=None)
    assert outdated(first.event, [first, second, same_time]) is None


def test_of_two_states_with_one_timestamp_the_last_recorded_is_current() -> None:
    first, second = updated(0, screen="1"), updated(0, screen="2")
    assert current_state([first, second]) is second
    unreadable = updated(0, screen="3", timestamp="today")
    assert current_state([first, unreadable]) is unreadable


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_only_a_later_confirmation_restores_a_canceled_booking(order: tuple[int, ...]) -> None:
    facts = [confirmed(0), cancelled(1), updated(2)]
    assert outdated(CONFIRMED, [facts[place] for place in order]) == "the booking is canceled"
    facts = [confirmed(0), cancelled(1), confirmed(2)]
    assert outdated(CONFIRMED, [facts[place] for place in order]) is None


@pytest.mark.parametrize(
    ("refunds", "is_full"),
    [
        ([refunded(30)], True),
        ([refunded("30.00", event_type="booking.refunded")], True),
        ([refunded(10), refunded(20)], True),
        ([refunded(29.99)], False),
        # The same refund twice, and the same one from both services.
        ([refunded(15), refunded(15)], False),
        ([refunded(15), refunded("15.0", event_type="booking.refunded")], False),
        ([refunded(30, currency="JPY")], False),
        ([refunded(30, currency=None)], True),
        # About the booking before it was confirmed again.
        ([refunded(30, minute=-5)], False),
    ],
)
def test_a_booking_refunded_in_full_is_over(refunds: list[Fact], is_full: bool) -> None:
    reason = "the booking is refunded in full" if is_full else None
    assert outdated(CONFIRMED, [confirmed(0), *refunds]) == reason


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize(
    ("later_total", "refund", "is_full"),
    [
        (20, 10, False),
        # The two seats that were returned.
        (10, 20, False),
        (10, 30, True),
        (None, 30, True),
        (45, 30, False),
        (45, 45, True),
    ],
)
def test_refunds_are_compared_with_the_largest_total_of_the_booking(
    order: tuple[int, ...], later_total: Any, refund: int, is_full: bool
) -> None:
    changed = updated(1, total_amount=later_total)
    facts = [confirmed(0), changed, refunded(refund)]
    reason = "the booking is refunded in full" if is_full else None
    assert outdated(changed.event, [facts[place] for place in order]) == reason


def test_totals_before_the_last_confirmation_or_in_another_currency_do_not_count() -> None:
    again = confirmed(2, total_amount=20)
    elsewhere = updated(3, total_amount=3_000, currency="JPY")
    facts = [confirmed(0, total_amount=40), updated(1, total_amount=50), again, elsewhere, refunded(20)]
    assert outdated(again.event, facts) == "the booking is refunded in full"


def test_a_free_booking_is_not_refunded() -> None:
    assert outdated(CONFIRMED | {"total_amount": 0}, [confirmed(0), refunded(0)]) is None

"""The guard against card testing, on Redis and in memory: who is locked out, and for how long."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import redis
from click.testing import CliRunner, Result

from app import declines
from app.abuse.attempts import Attempt, AttemptGuard, make_guard
from app.abuse.memory_store import MemoryStore
from app.abuse.redis_store import RedisStore
from app.abuse.store import LOCKOUT_SECONDS, Store
from app.errors import InvalidCard, TooManyAttempts
from app.settings import Settings
from cli.main import main

if TYPE_CHECKING:
    from _pytest.fixtures import FixtureRequest

HOUR, DAY = 3_600, 86_400
BUDGETS = Settings(_env_file=None).card_attempt_budgets


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "redis"])
def store(request: FixtureRequest) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    url, prefix = request.getfixturevalue("redis_url"), f"test-{uuid.uuid4().hex}."
    yield RedisStore(url, prefix)
    with redis.Redis.from_url(url) as cleaning:
        for key in cleaning.scan_iter(f"{prefix}*"):
            cleaning.delete(key)


@pytest.fixture
def guard(store: Store, clock: Clock) -> AttemptGuard:
    return AttemptGuard(store, BUDGETS, clock)


_ids = itertools.count()


def begin(
    guard: AttemptGuard,
    booking: str = "B-1",
    user: str = "U-1",
    ip: str | None = "203.0.113.8",
    token: str | None = None,
) -> Attempt:
    return guard.begin(f"TXN-{next(_ids)}", booking_id=booking, user_id=user, customer_ip=ip, token=token)


def decline(
    guard: AttemptGuard,
    *,
    card: str | None = None,
    what: declines.Decline = declines.FUNDS,
    **who: Any,
) -> declines.Decline:
    with begin(guard, **who) as attempt:
        return attempt.declined(what, card)


def waits(guard: AttemptGuard, **who: Any) -> int:
    """Return the seconds that an attempt would have to wait; 0 if it may proceed."""
    try:
        with begin(guard, **who):
            return 0
    except TooManyAttempts as error:
        seconds: int = error.details["retry_after"]
        return seconds


def unique(word: str) -> str:
    return f"{word}-{next(_ids)}"


Tester = Callable[[], dict[str, Any]]
TESTERS: dict[str, Tester] = {
    "with one booking": lambda: {"booking": "B-1", "user": unique("U"), "ip": unique("ip")},
    "with one user": lambda: {"booking": unique("B"), "user": "U-1", "ip": unique("ip")},
    "from one address": lambda: {"booking": unique("B"), "user": unique("U"), "ip": "203.0.113.8"},
    "without an address": lambda: {"booking": "B-1", "user": "U-1", "ip": None},
}


@pytest.mark.parametrize("tester", TESTERS.values(), ids=TESTERS)
def test_a_card_tester_is_locked_out_within_ten_attempts(guard: AttemptGuard, tester: Tester) -> None:
    reached = 0
    for _ in range(118):
        try:
            decline(guard, card=unique("card"), **tester())
        except TooManyAttempts:
            break
        reached += 1
    assert reached < 10
    assert waits(guard, booking=unique("B"), user=unique("U"), ip="198.51.100.1") == 0


def test_a_card_tester_with_many_threads_is_locked_out_as_soon(guard: AttemptGuard) -> None:
    def attempt(_number: int) -> bool:
        try:
            decline(guard, booking=unique("B"), ip=None)
        except TooManyAttempts:
            return False
        return True

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(attempt, range(118))) < 10


def test_attempts_in_flight_count_until_they_end(guard: AttemptGuard, clock: Clock) -> None:
    in_flight = [begin(guard, booking=unique("B"), ip=None) for _ in range(9)]
    assert waits(guard, booking=unique("B"), ip=None) == 5
    in_flight.pop().paid()
    assert waits(guard, ip=None) == 0
    clock.now += 121  # the other processes were killed
    assert [begin(guard, booking=unique("B"), ip=None) for _ in range(9)]


def test_a_card_declined_for_several_bookings_is_recognized_by_its_token(guard: AttemptGuard) -> None:
    for _ in range(12):
        who: dict[str, Any] = {"booking": unique("B"), "user": unique("U"), "ip": unique("ip")}
        decline(guard, card="fingerprint", token="pm_1", **who)
    who = {"booking": unique("B"), "user": unique("U"), "ip": unique("ip")}
    assert waits(guard, token="pm_1", **who) == LOCKOUT_SECONDS[0]
    assert waits(guard, token="pm_2", **who) == 0


def test_a_family_with_three_cards_is_never_locked_out(guard: AttemptGuard, clock: Clock) -> None:
    for card in ("mother's", "mother's", "mother's", "father's", "father's", "father's", "daughter's"):
        decline(guard, card=card, token=card)
        clock.now += 30
    with begin(guard, token="daughter's") as attempt:
        attempt.paid()
    assert guard.locks() == []


def test_many_customers_behind_one_address_do_not_lock_each_other_out(
    guard: AttemptGuard, clock: Clock
) -> None:
    for number in range(500):
        clock.now += 3
        who: dict[str, Any] = {"booking": f"B-{number}", "user": f"U-{number}"}
        if number % 5 == 0:
            decline(guard, card=unique("card"), **who)
        else:
            with begin(guard, **who) as attempt:
                attempt.paid()
    assert guard.locks() == []


def test_each_lockout_is_longer_and_allows_fewer_attempts(guard: AttemptGuard, clock: Clock) -> None:
    reached = []
    for lockout in (*LOCKOUT_SECONDS, LOCKOUT_SECONDS[-1]):
        attempts = 0
        while not waits(guard, booking=unique("B"), ip=None):
            decline(guard, booking=unique("B"), ip=None)
            attempts += 1
        reached.append(attempts)
        assert waits(guard, ip=None) == lockout
        clock.now += lockout / 2
        assert waits(guard, ip=None) == lockout / 2
        clock.now += lockout / 2 + 1
    assert reached == [9, 3, 3, 3, 3]
    clock.now += 8 * DAY
    assert [decline(guard, booking=unique("B"), ip=None) for _ in range(9)]


def test_a_slow_card_tester_reaches_the_daily_limit(guard: AttemptGuard, clock: Clock) -> None:
    reached = 0
    while not waits(guard, booking=unique("B"), ip=None):
        decline(guard, booking=unique("B"), ip=None)
        reached += 1
        clock.now += 10 * 60
    assert reached == 15


def test_after_a_few_declines_all_have_the_same_code(guard: AttemptGuard) -> None:
    kinds = (declines.FUNDS, declines.EXPIRED, declines.CVC, declines.FUNDS, declines.EXPIRED, declines.CVC)
    found = [decline(guard, what=kind) for kind in kinds]
    assert found == [*kinds[:3], *[declines.GENERIC] * 3]


def test_failures_not_caused_by_the_card_are_not_counted(guard: AttemptGuard) -> None:
    canceled = declines.Decline("CUSTOMER_CANCELED", "Canceled.", "later")
    for what in (canceled, declines.GATEWAY_ERROR, declines.BAD_AMOUNT):
        assert [decline(guard, what=what) for _ in range(20)] == [what] * 20
    for _ in range(20):
        with pytest.raises(ZeroDivisionError), begin(guard):
            _ = 1 / 0
    assert waits(guard) == 0


def test_a_card_refused_before_it_is_charged_counts(guard: AttemptGuard) -> None:
    for _ in range(9):
        with pytest.raises(InvalidCard), begin(guard):
            raise InvalidCard("The card number is incorrect.")
    assert waits(guard)


def test_lockouts_are_listed_and_can_be_lifted(guard: AttemptGuard, clock: Clock) -> None:
    for _ in range(9):
        decline(guard)
    until = clock.now + LOCKOUT_SECONDS[0]
    locks = guard.locks()
    assert {(lock.kind, lock.name) for lock in locks} == {
        ("booking", "B-1"),
        ("user", "U-1"),
        ("ip", "203.0.113.8"),
    }
    assert {(lock.until, lock.level) for lock in locks} == {(until, 1)}
    assert [guard.lift("booking", "B-1"), guard.lift("user", "U-1"), guard.lift("ip", "203.0.113.8")]
    assert guard.locks() == []
    assert not guard.lift("user", "U-1")
    assert [decline(guard, ip=None) for _ in range(9)]


def test_the_message_does_not_name_the_budget(guard: AttemptGuard) -> None:
    messages = set()
    for tester in TESTERS.values():
        for _ in range(9):
            decline(guard, **tester())
        with pytest.raises(TooManyAttempts) as refused:
            begin(guard, **tester())
        messages.add((refused.value.message, *refused.value.details))
        for lock in guard.locks():
            guard.lift(lock.kind, lock.name)
    assert messages == {("Too many payment attempts. Please try again later.", "retry_after")}


def test_a_decline_that_is_reported_again_is_counted_once(guard: AttemptGuard, clock: Clock) -> None:
    for number in range(9):
        for _ in range(3):
            attempt = guard.resume("TXN-1", booking_id="B-1", user_id="U-1", token=None)
            attempt.declined(declines.FUNDS, "card", f"ch_{number}")
            assert attempt.locked_out == (number == 8)
    clock.now += LOCKOUT_SECONDS[0] + 1
    guard.resume("TXN-1", booking_id="B-1", user_id="U-1", token=None).declined(declines.FUNDS, None, "ch_8")
    assert waits(guard) == 0
    for _ in range(3):
        assert waits(guard) == 0
        decline(guard)
    assert waits(guard) == LOCKOUT_SECONDS[1]


def test_a_later_outcome_counts_for_the_address_of_the_attempt(guard: AttemptGuard) -> None:
    for number in range(9):
        who = {"booking_id": unique("B"), "user_id": unique("U")}
        with guard.begin(f"TXN-{number}", **who, customer_ip="203.0.113.8", token=None) as attempt:
            attempt.left_open()
        guard.resume(f"TXN-{number}", **who, token=None).declined(
            declines.FUNDS, unique("card"), unique("ch")
        )
    assert [(lock.kind, lock.name) for lock in guard.locks()] == [("ip", "203.0.113.8")]


@pytest.mark.parametrize("what", [declines.NOT_CONFIRMED, declines.PROVIDER])
def test_a_later_outcome_that_says_nothing_about_a_card_is_not_counted(
    guard: AttemptGuard, what: declines.Decline
) -> None:
    for _ in range(20):
        attempt = guard.resume("TXN-1", booking_id="B-1", user_id="U-1", token=None)
        assert attempt.declined(what, None, unique("ch")) == what
    assert waits(guard) == 0


def test_without_limits_nothing_is_counted(store: Store) -> None:
    guard = AttemptGuard(store, {})
    assert [decline(guard, card="c", token="pm_1") for _ in range(50)]


def test_without_redis_each_process_counts_separately(clock: Clock) -> None:
    guard = AttemptGuard(RedisStore("redis://127.0.0.1:1/0", "x"), BUDGETS, clock)
    for _ in range(9):
        decline(guard)
    assert waits(guard) == LOCKOUT_SECONDS[0]
    with pytest.raises(redis.RedisError):
        guard.locks()


def test_operators_list_and_lift_lockouts(
    stored_settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.abuse.attempts.time.time", clock)
    for module in ("attempts", "options"):
        monkeypatch.setattr(f"cli.{module}.command_settings", lambda: stored_settings)
    guard = make_guard(stored_settings)
    assert run("list").output == "Nobody is locked out.\n"
    for _ in range(9):
        decline(guard, booking=unique("B"), ip="2001:db8:1:2::/64")
    listed = json.loads(run("list", "--json").output)
    assert {(row["kind"], row["subject"], row["lockouts"]) for row in listed} == {
        ("user", "U-1", 1),
        ("ip", "2001:db8:1:2::/64", 1),
    }
    assert all(row["until"].endswith("Z") for row in listed)
    assert "KIND\tSUBJECT\tUNTIL\tLOCKOUTS\n" in run("list").output
    assert run("lift", "ip", "2001:db8:1:2::7").output == "Lifted the lockout of ip 2001:db8:1:2::/64.\n"
    assert run("lift", "user", "U-1").exit_code == 0
    assert waits(guard, ip="2001:db8:1:2::/64") == 0
    again = run("lift", "user", "U-1")
    assert (again.exit_code, again.output) == (1, "Error: No declines are recorded for the user U-1.\n")


def test_operators_see_that_redis_is_down(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("attempts", "options"):
        monkeypatch.setattr(f"cli.{module}.command_settings", lambda: settings)
    result = run("list")
    assert (result.exit_code, result.output) == (1, "Error: Redis is unavailable (ConnectionError).\n")


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["attempts", *words])


def test_concurrent_requests_for_one_booking_count_as_one_attempt(guard: AttemptGuard) -> None:
    assert [begin(guard) for _ in range(50)]


def test_a_refused_duplicate_does_not_hide_the_attempt_in_flight(guard: AttemptGuard) -> None:
    limit = BUDGETS["user"][0].limit
    in_flight = []
    for number in range(limit):
        who: dict[str, Any] = {"booking": f"B-{number}", "user": "U-1", "ip": None}
        in_flight.append(begin(guard, **who))
        assert waits(guard, **who) == 0  # a duplicate of the same booking, which ends at once
    assert waits(guard, booking="B-other", user="U-1", ip=None) > 0
    for attempt in in_flight:
        attempt.paid()
    assert waits(guard, booking="B-other", user="U-1", ip=None) == 0


def test_an_attempt_in_flight_of_an_earlier_version_counts(redis_url: str, clock: Clock) -> None:
    prefix = f"test-{uuid.uuid4().hex}."
    guard = AttemptGuard(RedisStore(redis_url, prefix), {"user": BUDGETS["user"]}, clock)
    with redis.Redis.from_url(redis_url) as store:
        for number in range(BUDGETS["user"][0].limit):
            store.zadd(f"{prefix}f:user:U-1", {f"B-{number}": clock.now + 60})
        assert waits(guard, booking="B-other", ip=None) == 5
        assert waits(guard, booking="B-other", user="U-2", ip=None) == 0
        store.delete(*store.keys(f"{prefix}*"))

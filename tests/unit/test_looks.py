from __future__ import annotations

import pytest

from app.gateway import ActionRequired
from app.payments import looks
from app.payments.looks import LOOKUPS_PER_WINDOW, WINDOW_SECONDS, RecentLookups

ACTION = ActionRequired("pi_1", "pi_1_secret_x")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr("app.payments.looks.time.monotonic", lambda: now[0])
    return now


def test_many_readers_cause_few_lookups(clock: list[float]) -> None:
    recent = RecentLookups()
    assert sum(recent.claim("TXN-1") for _ in range(150)) == LOOKUPS_PER_WINDOW
    assert recent.claim("TXN-2"), "another payment is looked up all the same"
    clock[0] += WINDOW_SECONDS
    assert recent.claim("TXN-1")


def test_the_required_action_is_remembered_between_lookups(clock: list[float]) -> None:
    recent = RecentLookups()
    assert recent.action("TXN-1") is None
    recent.remember("TXN-1", ACTION)
    assert recent.claim("TXN-1"), "to remember is not to look"
    assert recent.action("TXN-1") == ACTION


def test_the_oldest_lookups_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "_MAX_REMEMBERED", 2)
    recent = RecentLookups()
    for number in range(3):
        recent.remember(f"TXN-{number}", ACTION)
    assert [recent.action(f"TXN-{number}") for number in range(3)] == [None, ACTION, ACTION]

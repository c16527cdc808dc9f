"""The relay publishes a backlog without pauses, whatever its size."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from app.clock import utcnow
from app.messaging.publisher import OutgoingEvent, Publisher
from app.payments import outbox
from app.payments.outbox import Relay
from tests.support.wait import wait_within

if TYPE_CHECKING:
    from tests.unit.payments.conftest import Site

#: One interval for each of them would take ten times as long as the test waits.
EVENTS, INTERVAL_SECONDS, LIMIT_SECONDS = 200, 0.5, 10


class _Broker(Publisher):
    """Confirms every event, or refuses it.

    Attributes:
        published: ids of the confirmed events.
        attempts: when it was given a batch, in seconds.
        is_down: whether it refuses.
    """

    def __init__(self) -> None:
        self.published: list[str] = []
        self.attempts: list[float] = []
        self.is_down = False

    def publish_all(self, events: Sequence[OutgoingEvent]) -> dict[str, str]:
        self.attempts.append(time.monotonic())
        if self.is_down:
            return {event.event_id: "down" for event in events}
        self.published += [event.event_id for event in events]
        return {}

    def keep_alive(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def waiting(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of events that other processes left behind, in the order in which they were made."""
    monkeypatch.setattr(outbox, "utcnow", utcnow)
    monkeypatch.setattr(outbox, "_SWEEP_SIZE", 1)
    monkeypatch.setattr(outbox, "SWEEP_INTERVAL_SECONDS", INTERVAL_SECONDS)
    created = utcnow() - timedelta(hours=1)
    ids = []
    for number in range(EVENTS):
        paid = site.pay(f"TXN-{number}", booking_id=f"BOOK-{number}", user_id=f"user_{number}")
        [entry] = paid.outbox
        at = created + timedelta(seconds=number)
        site.ledger._payments[paid.id] = replace(paid, outbox=(replace(entry, created_at=at),))
        ids.append(entry.event_id)
    return ids


def test_a_backlog_is_published_without_a_pause_between_sweeps(site: Site, waiting: list[str]) -> None:
    broker = _Broker()
    relay = Relay(site.ledger, lambda: broker)
    relay.start()
    wait_within(lambda: len(broker.published) == EVENTS, LIMIT_SECONDS, lambda: f"{len(broker.published)}")
    relay.close()
    assert broker.published == waiting, "the oldest first"


def test_a_broker_that_is_down_is_tried_once_an_interval(site: Site, waiting: list[str]) -> None:
    broker = _Broker()
    broker.is_down = True
    relay = Relay(site.ledger, lambda: broker)
    relay.start()
    wait_within(lambda: len(broker.attempts) >= 3, LIMIT_SECONDS, "it was not tried again")
    relay.close()
    assert all(later - before > INTERVAL_SECONDS / 2 for before, later in pairwise(broker.attempts))

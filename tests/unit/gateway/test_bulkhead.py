"""The limit on concurrent calls: the shares of customers, webhooks, and recovery."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from app.errors import GatewayError
from app.gateway import Share
from app.gateway.bulkhead import Bulkhead


@pytest.fixture(autouse=True)
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.bulkhead.SLOT_WAIT_SECONDS", 0.2)


@contextmanager
def occupied(bulkhead: Bulkhead, calls: int, share: Share = Share.CUSTOMER) -> Iterator[None]:
    with ExitStack() as slots:
        for _ in range(calls):
            slots.enter_context(bulkhead.admitted(share))
        yield


def refusal_seconds(bulkhead: Bulkhead, share: Share = Share.CUSTOMER) -> float:
    started = time.monotonic()
    with pytest.raises(GatewayError, match="Nothing was charged"), bulkhead.admitted(share):
        pass
    return time.monotonic() - started


def test_the_first_excess_call_waits_and_later_ones_are_refused_immediately() -> None:
    bulkhead = Bulkhead(8)
    with occupied(bulkhead, 8):
        assert refusal_seconds(bulkhead) >= 0.2
        assert min(refusal_seconds(bulkhead) for _ in range(3)) < 0.1
    with bulkhead.admitted():
        pass


def test_calls_wait_again_once_a_call_has_ended() -> None:
    bulkhead = Bulkhead(8)
    with occupied(bulkhead, 8):
        refusal_seconds(bulkhead)
    with occupied(bulkhead, 8):
        assert refusal_seconds(bulkhead) >= 0.2


def test_a_waiting_call_gets_the_slot_of_one_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.bulkhead.SLOT_WAIT_SECONDS", 10)
    bulkhead, admitted = Bulkhead(8), threading.Event()

    def wait() -> None:
        with bulkhead.admitted():
            admitted.set()

    with occupied(bulkhead, 7):
        with occupied(bulkhead, 1):
            waiting = threading.Thread(target=wait)
            waiting.start()
            assert not admitted.wait(0.1)
        assert admitted.wait(60)
        waiting.join()


@pytest.mark.parametrize("share", [Share.WEBHOOK, Share.STATUS])
@pytest.mark.parametrize(("size", "most"), [(72, 18), (6, 1), (3, 1)])
def test_other_shares_get_a_quarter_each_and_customers_the_rest(share: Share, size: int, most: int) -> None:
    bulkhead = Bulkhead(size)
    with occupied(bulkhead, most, share):
        refusal_seconds(bulkhead, share)
        with occupied(bulkhead, size - most):
            refusal_seconds(bulkhead)


def test_a_hanging_share_does_not_delay_the_others() -> None:
    bulkhead = Bulkhead(12)
    with occupied(bulkhead, 3, Share.WEBHOOK):
        refusal_seconds(bulkhead, Share.WEBHOOK)
        # The end of a customer's call frees no slot for webhooks.
        seconds = []
        for _ in range(3):
            with bulkhead.admitted():
                pass
            seconds.append(refusal_seconds(bulkhead, Share.WEBHOOK))
        assert min(seconds) < 0.1  # a refusal that waits does so each time, a busy machine does not
        with occupied(bulkhead, 3, Share.STATUS):
            pass


def test_customers_may_use_every_slot() -> None:
    with occupied(Bulkhead(72), 72):
        pass


@pytest.mark.parametrize("threads", range(4, 257))
def test_a_thread_stays_free_however_many_call_and_wait(threads: int) -> None:
    slots = threads * 3 // 4  # Settings.gateway_calls
    assert slots + Bulkhead(slots)._max_waiting < threads


def test_only_a_few_calls_wait_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.bulkhead.SLOT_WAIT_SECONDS", 10)
    bulkhead = Bulkhead(6)
    with ExitStack() as slots:
        for _ in range(6):
            slots.enter_context(bulkhead.admitted())
        waiting = threading.Thread(target=lambda: bulkhead.admitted().__enter__(), daemon=True)
        waiting.start()
        while not bulkhead._waiting:
            time.sleep(0.01)
        assert refusal_seconds(bulkhead) < 1
    waiting.join()

"""Writes of concurrent threads, carried out together."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from app.payments.ledger.batches import Batches
from tests.support.wait import wait_for


class Store:
    """Carries out writes when the test lets it: doubles numbers, and refuses negative ones."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.free = threading.Semaphore(0)
        self.failure: Exception | None = None

    def carry_out(self, writes: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(writes))
        assert self.free.acquire(timeout=60)
        if self.failure:
            raise self.failure
        return [write * 2 if write > 0 else ValueError(write) for write in writes]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def submit(store: Store) -> Iterator[Callable[[int], Future[int]]]:
    """Write from a thread of its own, and return once the write is on its way or waits."""
    batches = Batches(store.carry_out)
    submitted = 0

    def start(write: int) -> Future[int]:
        nonlocal submitted
        submitted += 1
        future = pool.submit(batches.write, write)
        wait_for(lambda: sum(map(len, store.batches)) + len(batches._waiting) == submitted, 5, "not begun")
        return future

    with ThreadPoolExecutor(16) as pool:
        yield start
        store.free.release(100)


def test_a_write_goes_out_at_once_and_alone(store: Store, submit: Callable[[int], Future[int]]) -> None:
    for number in (1, 2):
        store.free.release()
        assert submit(number).result(60) == number * 2
    assert store.batches == [[1], [2]]


def test_writes_go_out_together_while_two_batches_are_on_their_way(
    store: Store, submit: Callable[[int], Future[int]]
) -> None:
    futures = [submit(number) for number in (1, 2, 3, 4, 5)]
    assert store.batches == [[1], [2]]
    store.free.release()
    wait_for(lambda: len(store.batches) == 3, 5, "the lead was not passed on")
    assert store.batches[2] == [3, 4, 5]
    store.free.release(2)
    assert [future.result(60) for future in futures] == [2, 4, 6, 8, 10]


def test_each_thread_gets_its_own_error(store: Store, submit: Callable[[int], Future[int]]) -> None:
    futures = [submit(number) for number in (1, 2, 3, -4, 5)]
    store.free.release(3)
    assert [futures[index].result(60) for index in (0, 1, 2, 4)] == [2, 4, 6, 10]
    with pytest.raises(ValueError, match="-4"):
        futures[3].result(60)


def test_a_failure_is_the_failure_of_every_write_of_its_batch_and_of_no_other(
    store: Store, submit: Callable[[int], Future[int]]
) -> None:
    futures = [submit(number) for number in (1, 2, 3, 4)]
    store.failure = ConnectionError("lost")
    store.free.release()
    wait_for(lambda: len(store.batches) == 3, 5, "the lead was not passed on")
    store.free.release(2)
    for future in futures:
        with pytest.raises(ConnectionError):
            future.result(60)
    store.failure = None
    store.free.release()
    assert submit(6).result(60) == 12


def test_nobody_waits_forever_and_nothing_is_written_twice() -> None:
    written: list[int] = []
    lock = threading.Lock()

    def carry_out(writes: Sequence[int]) -> list[int | Exception]:
        with lock:
            written.extend(writes)
        if random.random() < 0.1:  # noqa: S311 - not a secret
            raise ConnectionError
        return [write * 2 if write % 7 else ValueError() for write in writes]

    batches = Batches(carry_out)

    def write(number: int) -> bool:
        try:
            return batches.write(number) == number * 2
        except ValueError:
            return number % 7 == 0
        except ConnectionError:
            return True

    with ThreadPoolExecutor(32) as pool:
        assert all(pool.map(write, range(1, 3001)))
    assert sorted(written) == list(range(1, 3001))

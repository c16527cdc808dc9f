"""Inserts and outcomes that go to MongoDB in one round trip: each payment has its own result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pymongo
import pymongo.errors
import pytest

from app import models
from app.errors import ServiceUnavailable, Unacknowledged
from app.models import Transaction
from app.payments.ledger import BookingTaken
from app.payments.ledger.mongo import MongoLedger
from app.payments.ledger.mongo_batches import CompareAndSet, insert_all, update_all
from app.payments.reporting import stored
from tests.integration.test_ledgers import paid, payment
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from app.payments.records import Payment
    from app.settings import Settings

NUMBERS = range(1, 9)


@pytest.fixture
def ledger(stored_settings: Settings) -> MongoLedger:
    models.connect(stored_settings)
    return MongoLedger(batched=True)


@pytest.fixture
def together(ledger: MongoLedger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[Any]]]:
    """Write payments from a thread each: two alone, and the rest in one batch."""
    go = threading.Event()
    insert_one, update_one = (
        pymongo.collection.Collection.insert_one,
        pymongo.collection.Collection.update_one,
    )

    def held(original: Any) -> Any:
        def wait(*args: Any, **kwargs: Any) -> Any:
            assert go.wait(60)
            return original(*args, **kwargs)

        return wait

    def run(write: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        Transaction.collection()  # its indexes, before anything waits
        monkeypatch.setattr(pymongo.collection.Collection, "insert_one", held(insert_one))
        monkeypatch.setattr(pymongo.collection.Collection, "update_one", held(update_one))

        def outcome(item: Any) -> Any:
            try:
                return write(item)
            except Exception as error:
                return type(error)

        with ThreadPoolExecutor(len(items)) as pool:
            futures = [pool.submit(outcome, item) for item in items]
            queues = (ledger._inserts, ledger._updates)
            waiting = len(items) - 2
            wait_for(
                lambda: any(len(queue._waiting) == waiting for queue in queues if queue), 5, "not waiting"
            )
            go.set()
            return [future.result(60) for future in futures]

    yield run
    go.set()


def test_payments_of_one_batch_are_all_stored(
    ledger: MongoLedger, together: Callable[..., list[Any]]
) -> None:
    payments = [payment(number, f"BOOK-{number}") for number in NUMBERS]
    assert together(ledger.insert, payments) == [None] * len(payments)
    assert ledger.find_all([one.id for one in payments]) == {one.id: stored(one) for one in payments}


def test_a_booking_is_taken_once_in_a_batch(ledger: MongoLedger, together: Callable[..., list[Any]]) -> None:
    outcomes = together(ledger.insert, [payment(number) for number in NUMBERS])
    assert sorted(map(str, outcomes)) == sorted(map(str, [None] + [BookingTaken] * (len(NUMBERS) - 1)))


def test_outcomes_of_one_batch_are_all_stored(
    ledger: MongoLedger, together: Callable[..., list[Any]]
) -> None:
    before = [stored(payment(number, f"BOOK-{number}")) for number in NUMBERS]
    for number in NUMBERS:
        ledger.insert(payment(number, f"BOOK-{number}"))
    after = [paid(one) for one in before]
    assert together(lambda pair: ledger.write(*pair), list(zip(before, after, strict=True))) == [True] * 8
    assert ledger.find_all([one.id for one in after]) == {one.id: stored(one) for one in after}


def test_outcomes_of_the_same_payment_in_one_batch_are_stored_once(
    ledger: MongoLedger, together: Callable[..., list[Any]]
) -> None:
    ledger.insert(payment())
    before = stored(payment())
    outcomes = together(lambda after: ledger.write(before, after), [paid(before) for _ in NUMBERS])
    assert sorted(outcomes) == [False] * 7 + [True]
    found = ledger.find("TXN-1")
    assert found
    assert [len(found.outbox), found.revision] == [1, 2]


def _change(before: Payment, after: Payment) -> CompareAndSet:
    event_id = str(after.history[-1].event_id)
    pushed = {"history": {"event_id": event_id}}
    expected = {"_id": before.id, "revision": before.revision}
    return CompareAndSet(expected, {"$push": pushed, "$inc": {"revision": 1}}, event_id)


def test_a_stale_change_is_told_from_those_of_its_batch(ledger: MongoLedger) -> None:
    for number in NUMBERS:
        ledger.insert(payment(number, f"BOOK-{number}"))
    before = [stored(payment(number, f"BOOK-{number}")) for number in NUMBERS]
    assert ledger.write(before[3], paid(before[3]))
    outcomes = update_all(Transaction.collection(), [_change(one, paid(one)) for one in before])
    assert outcomes == [True, True, True, False, True, True, True, True]


class Unconfirmed:
    """A collection whose majority is unavailable: two writes, the second a duplicate."""

    def insert_many(self, *_: Any, **__: Any) -> None:
        failed = {"index": 1, "code": 11000, "errmsg": "duplicate"}
        concern = {"code": 64, "errmsg": "waiting for replication timed out"}
        raise pymongo.errors.BulkWriteError({"writeErrors": [failed], "writeConcernErrors": [concern]})


def test_without_a_majority_every_write_of_a_batch_is_unconfirmed() -> None:
    unconfirmed: Any = Unconfirmed()
    outcomes = insert_all(unconfirmed, [{"_id": 1}, {"_id": 2}, {"_id": 3}])
    assert [type(outcome) for outcome in outcomes] == [
        pymongo.errors.WriteConcernError,
        pymongo.errors.DuplicateKeyError,
        pymongo.errors.WriteConcernError,
    ]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (pymongo.errors.AutoReconnect("connection closed"), Unacknowledged),
        (pymongo.errors.NetworkTimeout("timed out"), Unacknowledged),
        (pymongo.errors.ServerSelectionTimeoutError("no primary"), ServiceUnavailable),
        (pymongo.errors.OperationFailure("not primary", 10107), ServiceUnavailable),
    ],
    ids=lambda given: type(given).__name__,
)
def test_a_lost_batch_is_lost_for_each_of_its_payments(
    ledger: MongoLedger,
    together: Callable[..., list[Any]],
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    error: type[Exception],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(pymongo.collection.Collection, "insert_many", fail)
    outcomes = together(ledger.insert, [payment(number, f"BOOK-{number}") for number in NUMBERS])
    assert outcomes.count(None) == 2
    assert outcomes.count(error) == 6

"""The ledger in MongoDB: one round trip for each insert and each change.

It does not use MongoEngine, whose translation takes longer than MongoDB's work. `app.models.Transaction`
holds the indexes and describes the fields.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pymongo.errors
from bson.decimal128 import Decimal128
from pymongo.collection import Collection as MongoCollection

from app.models import Transaction, storage_errors, storage_writes
from app.payments.ledger import MAX_COUNTED, BookingTaken, Unpublished
from app.payments.ledger.batches import Batches
from app.payments.ledger.mongo_batches import CompareAndSet, Document, insert_all, update_all
from app.payments.records import Dispute, OutboxEntry, Payment, Refund, Step
from app.payments.states import DISPUTE_CLOSED, OPEN, PAID, Actor, PaymentStatus, RefundStatus

#: Matches a time that is set. A range query uses the sparse index.
_EVER = {"$gt": datetime(1970, 1, 1, tzinfo=UTC)}

#: Ids in one query.
_IDS_PER_QUERY = 1_000


class MongoLedger:
    """A `Ledger` in MongoDB, on the connection of `app.models.connect`.

    Args:
        batched: whether threads that write at the same time share a round trip; see `Batches` for what the
            threads must not do.
    """

    def __init__(self, *, batched: bool = False) -> None:
        self._inserts = Batches[Document, bool](_insert) if batched else None
        self._updates = Batches[CompareAndSet, bool](_compare_and_set) if batched else None

    def insert(self, payment: Payment) -> None:
        document = _document(payment) | {"revision": payment.revision + 1}
        if payment.status in OPEN:
            document["open_booking"] = payment.booking_id
        with storage_writes():
            try:
                if self._inserts:
                    self._inserts.write(document)
                else:
                    _payments().insert_one(document)
            except pymongo.errors.DuplicateKeyError:
                found = _payments().find_one({"open_booking": payment.booking_id}, ["_id"])
                raise BookingTaken(found["_id"] if found else None) from None

    def write(self, before: Payment, after: Payment) -> bool:
        # Records of older versions have no revision; null matches those.
        unchanged = {"_id": before.id, "revision": before.revision or None}
        update = _update(before, after)
        with storage_writes():
            try:
                event_id = after.history[-1].event_id if len(after.history) > len(before.history) else None
                if self._updates and event_id:
                    return self._updates.write(CompareAndSet(unchanged, update, event_id))
                return bool(_payments().update_one(unchanged, update).matched_count)
            except pymongo.errors.DuplicateKeyError:
                # Another payment has taken the booking since this one was refunded.
                del update["$set"]["open_booking"]
                return bool(_payments().update_one(unchanged, update).matched_count)

    def find(self, transaction_id: str) -> Payment | None:
        return _find({"_id": transaction_id})

    def find_by_refund(self, refund_id: str) -> Payment | None:
        return _find({"refunds.id": refund_id})

    def find_by_gateway_id(self, gateway_id: str) -> Payment | None:
        return _find({"gateway_id": gateway_id})

    def find_all(self, transaction_ids: Collection[str]) -> dict[str, Payment]:
        found = (_find_each({"_id": {"$in": ids}}) for ids in _batches(list(transaction_ids)))
        return {payment.id: payment for batch in found for payment in batch}

    def find_all_by_gateway_id(self, gateway_ids: Collection[str]) -> dict[str, Payment]:
        found = _find_each({"gateway_id": {"$in": list(gateway_ids)}})
        return {payment.gateway_id: payment for payment in found if payment.gateway_id}

    def find_by_bookings(self, booking_ids: Collection[str]) -> Iterator[Payment]:
        for ids in _batches(list(booking_ids)):
            yield from _find_each({"booking_id": {"$in": ids}})

    def search(
        self,
        limit: int | None,
        *,
        status: str | None = None,
        booking_id: str | None = None,
        user_id: str | None = None,
        since: datetime | None = None,
    ) -> Iterator[Payment]:
        conditions = {
            "status": status,
            "booking_id": booking_id,
            "user_id": user_id,
            "created_at": {"$gte": since} if since else None,
        }
        given = {name: value for name, value in conditions.items() if value is not None}
        with storage_errors():
            for document in _payments().find(given).sort([("created_at", -1), ("_id", -1)]).limit(limit or 0):
                yield _payment(document)

    def paid_since(self, since: datetime, until: datetime) -> Iterator[Payment]:
        return _find_each(_paid(since, until))

    def count_paid_since(self, since: datetime, until: datetime) -> int:
        with storage_errors():
            return _payments().count_documents(_paid(since, until))

    def refunded_since(self, since: datetime) -> Iterator[Payment]:
        return _find_each({"refunds.id": {"$gt": ""}, "refunds.processed_at": {"$gte": since}})

    def disputed(self, limit: int) -> list[Payment]:
        # A range finds what is set by its sparse index.
        still_open = {"disputes": {"$elemMatch": {"status": {"$gt": "", "$nin": sorted(DISPUTE_CLOSED)}}}}
        with storage_errors():
            found = _payments().find(still_open).sort("created_at", -1).limit(limit)
            return [_payment(document) for document in found]

    def kept_stray_charges(self, limit: int) -> list[Payment]:
        # A range finds what is set by its sparse index.
        with storage_errors():
            found = _payments().find({"stray_charge": {"$gt": ""}, "recover_after": None}).limit(limit)
            return [_payment(document) for document in found]

    def due(self, before: datetime, limit: int) -> list[Payment]:
        with storage_errors():
            found = _payments().find({"recover_after": {"$lt": before}}).sort("recover_after", 1).limit(limit)
            return [_payment(document) for document in found]

    def claim(
        self, transaction_ids: Collection[str], now: datetime, until: datetime, token: str
    ) -> list[Payment]:
        of_ids = {"_id": {"$in": list(transaction_ids)}}
        due = of_ids | {"recover_after": {"$lt": now}}
        with storage_writes():
            _payments().update_many(due, {"$set": {"recover_after": until, "recovery_claim": token}})
            return [_payment(document) for document in _payments().find(of_ids | {"recovery_claim": token})]

    def renew(self, token: str, transaction_ids: Collection[str], until: datetime) -> None:
        with storage_writes():
            for ids in _batches(list(transaction_ids)):
                _payments().update_many(
                    {"_id": {"$in": ids}, "recovery_claim": token, "recover_after": _EVER},
                    {"$set": {"recover_after": until}},
                )

    def count_overdue(self, before: datetime) -> int:
        with storage_errors():
            return _payments().count_documents({"recover_after": {"$lt": before}}, limit=MAX_COUNTED)

    def unpublished(self, booking_ids: Collection[str]) -> list[Unpublished]:
        waiting = {"booking_id": {"$in": list(booking_ids)}, "outbox_since": {"$ne": None}}
        with storage_errors():
            found = [
                Unpublished(document["booking_id"], document["_id"], _entry(entry))
                for document in _payments().find(waiting, ["booking_id", "outbox"])
                for entry in document["outbox"]
            ]
        return sorted(found, key=lambda entry: entry.event.created_at)

    def take_out(self, entries: Collection[Unpublished]) -> None:
        ids = list({entry.transaction_id for entry in entries})
        event_ids = [entry.event.event_id for entry in entries]
        emptied = {"$set": {"outbox": []}, "$unset": {"outbox_since": True, "outbox_claim": True}}
        alone = {"_id": {"$in": ids}, "outbox": {"$size": 1}, "outbox.0.event_id": {"$in": event_ids}}
        with storage_writes():
            if _payments().update_many(alone, emptied).matched_count == len(ids):
                return
            # Other events are left or were added meanwhile. The process that removes the last one marks the
            # outbox as empty.
            of_ids = {"_id": {"$in": ids}}
            _payments().update_many(of_ids, {"$pull": {"outbox": {"event_id": {"$in": event_ids}}}})
            _payments().update_many(of_ids | {"outbox": [], "outbox_since": {"$ne": None}}, emptied)

    def claim_unpublished(self, before: datetime, now: datetime, until: datetime, limit: int) -> set[str]:
        # The expiry also names the claim. Two equal ones only publish an event twice.
        until += timedelta(milliseconds=secrets.randbelow(1_000))
        free = {"outbox_since": {"$lt": before}, "outbox_claim": {"$not": {"$gt": now}}}
        with storage_writes():
            while waiting := list(
                _payments().find(free, ["booking_id"]).sort("outbox_since", 1).limit(limit)
            ):
                of_ids = {"_id": {"$in": [document["_id"] for document in waiting]}}
                claimed = _payments().update_many(of_ids | free, {"$set": {"outbox_claim": until}})
                if claimed.matched_count not in (0, len(waiting)):
                    waiting = list(_payments().find(of_ids | {"outbox_claim": until}, ["booking_id"]))
                if claimed.matched_count:  # otherwise another process was faster
                    return {document["booking_id"] for document in waiting}
        return set()

    def backlog(self) -> tuple[int, datetime | None]:
        with storage_errors():
            waiting = {"outbox_since": _EVER}
            oldest = _payments().find_one(waiting, ["outbox_since"], sort=[("outbox_since", 1)])
            if oldest is None:
                return 0, None
            return _payments().count_documents(waiting, limit=MAX_COUNTED), oldest["outbox_since"]


def _insert(documents: Sequence[Document]) -> Sequence[bool | Exception]:
    if len(documents) > 1:
        return insert_all(_payments(), documents)
    _payments().insert_one(documents[0])
    return [True]


def _compare_and_set(changes: Sequence[CompareAndSet]) -> Sequence[bool | Exception]:
    if len(changes) > 1:
        return update_all(_payments(), changes)
    return [bool(_payments().update_one(changes[0].expected, changes[0].update).matched_count)]


def _payments() -> MongoCollection[dict[str, Any]]:
    return Transaction.collection()


def _find(expected: dict[str, Any]) -> Payment | None:
    with storage_errors():
        document = _payments().find_one(expected)
    return None if document is None else _payment(document)


def _paid(since: datetime, until: datetime) -> dict[str, Any]:
    return {"status": {"$in": sorted(PAID)}, "created_at": {"$gte": since, "$lt": until}}


def _find_each(expected: dict[str, Any]) -> Iterator[Payment]:
    with storage_errors():
        for document in _payments().find(expected):
            yield _payment(document)


def _batches(ids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(ids), _IDS_PER_QUERY):
        yield ids[start : start + _IDS_PER_QUERY]


def _stored(value: Any) -> Any:
    """Convert a value to the form that MongoDB stores."""
    if isinstance(value, str):
        return str(value)  # without its enum
    if isinstance(value, Decimal):
        return Decimal128(value)
    if isinstance(value, tuple):
        return [_document(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _document(record: Any) -> dict[str, Any]:
    """Convert a record or a part of one to a document, without empty fields."""
    document = {
        name: _stored(value)
        for name in _names(record.__class__)
        if name != "revision" and (value := getattr(record, name)) is not None
    }
    if isinstance(record, Payment):
        document["_id"] = document.pop("id")
    return document


@cache
def _names(record: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(record))  # type: ignore[arg-type]


#: Lists to which only new entries are appended, because the relay may remove published events at any time.
_APPENDED = ("history", "outbox")


def _update(before: Payment, after: Payment) -> dict[str, Any]:
    """Return the MongoDB update from one document to another."""
    to_set: dict[str, Any] = {"revision": before.revision + 1}
    to_unset: dict[str, bool] = {}
    update: dict[str, Any] = {"$set": to_set}
    for name in _names(Payment):
        old, new = getattr(before, name), getattr(after, name)
        if name in _APPENDED:
            if added := new[len(old) :]:
                update.setdefault("$push", {})[name] = {"$each": [_document(entry) for entry in added]}
                if name == "outbox":
                    update["$min"] = {"outbox_since": added[0].created_at}
        elif old != new and name != "revision":
            if new is None:
                to_unset[name] = True
            else:
                to_set[name] = _stored(new)
    if (before.status in OPEN) != (after.status in OPEN):
        if after.status in OPEN:
            to_set["open_booking"] = after.booking_id
        else:
            to_unset["open_booking"] = True
    if to_unset:
        update["$unset"] = to_unset
    return update


def _decimal(value: Decimal128 | Decimal) -> Decimal:
    return value.to_decimal() if isinstance(value, Decimal128) else value


def _part(kind: Callable[..., Any], **types: Callable[[Any], Any]) -> Callable[[Mapping[str, Any]], Any]:
    """Reader of one kind of embedded document. `types` convert the fields that MongoDB stores in another
    form."""
    names = _names(kind)

    def read(document: Mapping[str, Any]) -> Any:
        # Fields of other versions are not changed.
        given = {name: document[name] for name in names if document.get(name) is not None}
        for name, convert in types.items():
            if name in given:
                given[name] = convert(given[name])
        return kind(**given)

    return read


def _parts(read: Callable[[Mapping[str, Any]], Any]) -> Callable[[list[Mapping[str, Any]]], tuple[Any, ...]]:
    return lambda documents: tuple(read(document) for document in documents)


_entry = _part(OutboxEntry)
_read = _part(
    Payment,
    status=PaymentStatus,
    amount=_decimal,
    refund_reserved=_decimal,
    amount_refunded=_decimal,
    refunds=_parts(_part(Refund, status=RefundStatus, amount=_decimal)),
    disputes=_parts(_part(Dispute, amount=_decimal)),
    history=_parts(_part(Step, actor=Actor)),
    outbox=_parts(_entry),
)


def _payment(document: dict[str, Any]) -> Payment:
    payment: Payment = _read(document | {"id": document["_id"]})
    return payment

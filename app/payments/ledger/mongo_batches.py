"""Many inserts, and many compare-and-sets, in one round trip to MongoDB, each with its own outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DuplicateKeyError, WriteConcernError, WriteError

Document = dict[str, Any]

#: MongoDB's code of a value that exists in a unique index.
_DUPLICATE_KEY = 11000


@dataclass(frozen=True, slots=True)
class CompareAndSet:
    """An update of one record, if it is as expected.

    Attributes:
        event_id: of the event that the update adds to the record's history, which no other update adds.
    """

    expected: Document
    update: Document
    event_id: str


def insert_all(collection: Collection[Document], documents: Sequence[Document]) -> list[bool | Exception]:
    """Insert documents. Return True or an error for each.

    Raises:
        PyMongoError: no response, or none of them was carried out.
    """
    try:
        collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        return _outcomes(error, len(documents))
    return [True] * len(documents)


def update_all(collection: Collection[Document], changes: Sequence[CompareAndSet]) -> list[bool | Exception]:
    """Update records. Return for each whether it was as expected, or an error.

    Raises:
        PyMongoError: no response, or none of them was carried out.
    """
    outcomes: list[bool | Exception] = [True] * len(changes)
    try:
        updates = [UpdateOne(change.expected, change.update) for change in changes]
        if collection.bulk_write(updates, ordered=False).matched_count == len(changes):
            return outcomes
    except BulkWriteError as error:
        outcomes = _outcomes(error, len(changes))
    # MongoDB counts how many matched, and does not say which.
    ids = [change.expected["_id"] for change in changes]
    records = collection.find({"_id": {"$in": ids}}, ["history.event_id"])
    stored = {step.get("event_id") for record in records for step in record["history"]}
    return [
        change.event_id in stored if outcome is True else outcome
        for change, outcome in zip(changes, outcomes, strict=True)
    ]


def _outcomes(error: BulkWriteError, count: int) -> list[bool | Exception]:
    """Return True or an error for each of `count` writes."""
    outcomes: list[bool | Exception] = [True] * count
    details: Any = error.details
    if details["writeConcernErrors"]:  # no majority in time: none of the writes is sure to stay
        unconfirmed = details["writeConcernErrors"][0]
        outcomes = [
            WriteConcernError(unconfirmed.get("errmsg", ""), unconfirmed.get("code")) for _ in outcomes
        ]
    for failed in details["writeErrors"]:
        kind = DuplicateKeyError if failed["code"] == _DUPLICATE_KEY else WriteError
        outcomes[failed["index"]] = kind(failed["errmsg"], failed["code"], failed)
    return outcomes

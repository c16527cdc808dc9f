"""Compute the bytes that a document adds to its indexes, from the declared indexes and MongoDB's key format.

    python -m devtools.index_sizes

The sizes are computed, not measured: MongoDB's KeyString encoding, without prefix compression and free space
in pages.
https://github.com/mongodb/mongo/blob/master/src/mongo/db/storage/key_string/README.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from app.models import Notification, Record, Transaction

#: Each entry also has an end mark, the record's number, and the lengths of key and value in the page.
_ENTRY_BYTES = 1 + 4 + 4

_NOW = datetime(2026, 12, 1, tzinfo=UTC)

#: The indexed fields of a typical payment, paid immediately, with an address and a phone number.
TYPICAL_PAYMENT: Mapping[str, Any] = {
    "_id": "TXN-5f0c2d1e9ab34c5d8e7f6a1b2c3d4e5f",
    "status": "completed",
    "booking_id": "BOOK-8acd6d78744f",
    "open_booking": "BOOK-8acd6d78744f",
    "user_id": "user_928c3659b5ba",
    "contact": {"user_email": "jane.doe.123@example.com", "user_phone": "+14155550100"},
    "gateway_id": "pi_3QExampleExampleExample0",
    "history": [{"request_id": "req_770acfa01d895118e3930b80000b7443"}] * 2,
    "refunds": [],
    "disputes": [],
    "created_at": _NOW,
}

#: The indexed fields of an email that was sent.
TYPICAL_DELIVERY: Mapping[str, Any] = {
    "_id": ObjectId("6564f1c2a1b2c3d4e5f60718"),
    "event_id": "evt_16624760b833b92cb45ed34783403c6b",
    "notification_type": "email",
    "status": "sent",
    "booking_id": "BOOK-8acd6d78744f",
    "recipient": "jane.doe.123@example.com",
    "template": "payment_success",
    "message_id": "<199da87b99924882aceb83f7cd0f0eda@movieapp.example.com>",
    "event_data": {
        "user_id": "user_928c3659b5ba",
        "movie_title": "The Third Man",
        "showtime": "2026-12-15T20:00:00-05:00",
    },
    "created_at": _NOW,
}


def index_bytes(record: type[Record], document: Mapping[str, Any]) -> dict[str, int]:
    """Return the bytes that a document adds to each index of its collection, by the index's fields."""
    sizes = {"_id": _ENTRY_BYTES + _key_bytes(document["_id"])}
    for spec in record._meta["index_specs"]:
        values = [sorted(set(_values(document, name.split(".")))) for name, _ in spec["fields"]]
        name = ", ".join(name for name, _ in spec["fields"])
        label = f"{name} (ignores case)" if "collation" in spec else name
        sizes[label] = _entries_bytes(spec, values)
    return sizes


def _entries_bytes(spec: Mapping[str, Any], values: list[list[Any]]) -> int:
    first = values[0]
    # Our sparse and partial indexes skip a document by their first field.
    if not first and (spec.get("sparse") or spec.get("partialFilterExpression")):
        return 0
    rest = sum(_key_bytes(value[0]) if value else 1 for value in values[1:])
    return sum(_ENTRY_BYTES + _key_bytes(value) + rest for value in first)


def _values(part: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(part, list):
        for item in part:
            yield from _values(item, path)
    elif not path:
        yield part
    elif isinstance(part, Mapping) and path[0] in part:
        yield from _values(part[path[0]], path[1:])


def _key_bytes(value: Any) -> int:
    match value:
        case str():
            return len(value.encode()) + 2  # its type, and a final zero
        case ObjectId():
            return 1 + 12
        case _:
            return 1 + 8  # a datetime


def main() -> None:
    """Print bytes per document, which are megabytes per million."""
    for record, document in ((Transaction, TYPICAL_PAYMENT), (Notification, TYPICAL_DELIVERY)):
        sizes = index_bytes(record, document)
        print(record._get_collection_name())  # noqa: T201
        for name, size in sizes.items():
            print(f"{size:5}  {name}")  # noqa: T201
        print(f"{sum(sizes.values()):5}  together")  # noqa: T201


if __name__ == "__main__":
    main()

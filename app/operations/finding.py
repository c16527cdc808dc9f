"""Find records by an id, a prefix of one, or a customer's address. Every query uses an index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from app.addresses import InvalidAddress, parse_address
from app.channels import ChannelName
from app.errors import InvalidRequest
from app.ids import forms_of, normalized_id
from app.models import Notification, Transaction
from app.models.database import CASE_INSENSITIVE
from app.suppressions.addresses import normalize

#: Minimum length of a prefix that is searched for.
MIN_PREFIX_LENGTH = 4

#: Maximum number of ids listed for an ambiguous prefix.
_MAX_CANDIDATES = 10

#: Matches a time that is set.
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)

#: Fields that are lists of documents.
_LISTS = ("refunds", "disputes", "history")

#: Every payment's id begins with it.
_PAYMENT_ID = "TXN-"

#: Greater than every character of an id.
_LAST_CHARACTER = "\uffff"

#: Field → kind of id. Fields with one value, and list fields, each with an index.
PAYMENT_IDS = {
    "_id": "payment",
    "refunds.id": "refund",
    "booking_id": "booking",
    "user_id": "user",
    "gateway_id": "payment at the gateway",
    "refunds.gateway_id": "refund at the gateway",
    "disputes.id": "dispute at the gateway",
    "history.request_id": "request",
}
NOTIFICATION_IDS = {
    "event_id": "event",
    "booking_id": "booking",
    "message_id": "message",
    "event_data.user_id": "user",
}


class AmbiguousId(InvalidRequest):
    """A prefix matches several ids. The message names them."""


@dataclass(frozen=True)
class Condition:
    """A MongoDB query.

    Attributes:
        ignore_case: whether to use the case-insensitive index.
    """

    filter: dict[str, Any]
    ignore_case: bool = False

    def find(self, record: Any, limit: int) -> list[Any]:
        """Return the newest records that match."""
        found = record.objects(__raw__=self.filter)
        if self.ignore_case:
            return list(found.collation(CASE_INSENSITIVE).order_by("-created_at").limit(limit))
        return list(found.order_by("-created_at").limit(limit))


def spellings_of(text: str) -> list[str]:
    """Return the possible spellings of an id: as typed, in one case, and in movieapp's own form."""
    head, separator, tail = text.partition("-")
    own = f"{head.upper()}{separator}{tail.lower()}"
    cases = (text, text.lower(), text.upper(), own)
    return list(dict.fromkeys(form for case in cases for form in forms_of(case)))


def exactly(text: str) -> Iterator[tuple[Any, Condition]]:
    """Yield the models and conditions to look up for a whole id, the likeliest first."""
    spellings = spellings_of(text)
    for field in PAYMENT_IDS:
        yield Transaction, Condition({field: {"$in": spellings}})
    # A range query finds the few payments with an outbox in the sparse index.
    yield Transaction, Condition({"outbox_since": {"$gt": _EARLIEST}, "outbox.event_id": {"$in": spellings}})
    yield Notification, Condition({"event_id": {"$in": spellings}})
    yield Notification, Condition({"booking_id": {"$in": spellings}})
    yield Notification, Condition({"message_id": {"$in": [f"<{way.strip('<>')}>" for way in spellings]}})
    yield Notification, Condition({"event_data.user_id": {"$in": spellings}})
    if ObjectId.is_valid(text):
        yield Notification, Condition({"_id": ObjectId(text)})


def of_email(address: str) -> Iterator[tuple[Any, Condition]]:
    """Yield the models and conditions for an email address, in any case and either spelling of its domain."""
    spellings = [address]
    with suppress(InvalidAddress):
        spellings.append(str(parse_address(address)))
    yield Transaction, Condition({"contact.user_email": {"$in": spellings}}, ignore_case=True)
    yield Notification, Condition({"recipient": {"$in": spellings}}, ignore_case=True)


def of_phone(number: str) -> Iterator[tuple[Any, Condition]]:
    """Yield the models and conditions for a phone number, as typed and in E.164."""
    spellings = list(dict.fromkeys((number, normalize(ChannelName.SMS, number))))
    yield Transaction, Condition({"contact.user_phone": {"$in": spellings}})
    yield Notification, Condition({"recipient": {"$in": spellings}}, ignore_case=True)


def recipient_filter(address: str) -> dict[str, Any]:
    """Return the filter for messages to an email address or a phone number, in any spelling."""
    found = list((of_email if is_email(address) else of_phone)(address))
    return next(condition.filter for record, condition in found if record is Notification)


def is_email(text: str) -> bool:
    """Return whether to search for an email address. Message-IDs in angle brackets, or ours, are not
    addresses."""
    return "@" in text.strip("<>") and not text.startswith("<")


def is_phone(text: str) -> bool:
    """Return whether to search for a phone number."""
    digits = "".join(char for char in text if char.isdigit())
    return len(digits) >= 7 and set(text) <= set("+0123456789 ()-./") and not text.startswith("-")


def completed(prefix: str) -> str | None:
    """Return the only id with this prefix, or None.

    Raises:
        AmbiguousId: several ids have this prefix.
    """
    if len(prefix) < MIN_PREFIX_LENGTH:
        return None
    found = {normalized_id(id_): kind for id_, kind in _ids_with_prefix(spellings_of(prefix))}
    if len(found) > 1:
        named = [f"{id_} ({kind})" for id_, kind in sorted(found.items())]
        shown = ", ".join(named[:_MAX_CANDIDATES])
        more = ", and more" if len(named) > _MAX_CANDIDATES else ""
        raise AmbiguousId(f"Several ids begin with {prefix!r}: {shown}{more}. Enter more characters.")
    return next(iter(found), None)


def _ids_with_prefix(spellings: Iterable[str]) -> Iterator[tuple[str, str]]:
    for record, fields in ((Transaction, PAYMENT_IDS), (Notification, NOTIFICATION_IDS)):
        for field, kind in fields.items():
            for way in spellings:
                if field != "_id" or way.startswith(_PAYMENT_ID):
                    yield from ((id_, kind) for id_ in _ids(record, field, way))


def _ids(record: Any, field: str, start: str) -> set[str]:
    """Return a few distinct values of a field with this prefix."""
    found: set[str] = set()
    gaps = [({"$gte": start}, start + _LAST_CHARACTER)]
    while gaps and len(found) <= _MAX_CANDIDATES:
        low, high = gaps.pop()
        bounds = {**low, "$lt": high}
        documents = list(record.select(_between(field, bounds), [field], limit=_MAX_CANDIDATES + 1))
        values = {value for each in documents for value in _values(each, field.split("."))}
        here = {value for value in values if _is_between(value, bounds)}
        found |= here
        if len(documents) > _MAX_CANDIDATES:
            # There may be more, for example after an id that 100,000 records have. With `$nin`, SecantusDB
            # reads the whole collection.
            seen = min(here)
            gaps += [(low, seen), ({"$gt": seen}, high)]
    return found


def _between(field: str, bounds: dict[str, str]) -> dict[str, Any]:
    """Return the filter for records with a value within bounds."""
    head, _, tail = field.partition(".")
    if head not in _LISTS:
        return {field: bounds}
    # One item has to meet both bounds: the first condition alone also finds lists with an item above and
    # another one below. Without it, SecantusDB uses no index.
    return {field: bounds, head: {"$elemMatch": {tail: bounds}}}


def _is_between(value: str, bounds: dict[str, str]) -> bool:
    above = value > bounds["$gt"] if "$gt" in bounds else value >= bounds["$gte"]
    return above and value < bounds["$lt"]


def _values(document: Any, path: list[str]) -> list[str]:
    """Return the strings at a path of a document, through its lists."""
    if isinstance(document, list):
        return [value for item in document for value in _values(item, path)]
    if not path:
        return [document] if isinstance(document, str) else []
    return _values(document.get(path[0]), path[1:]) if isinstance(document, dict) else []

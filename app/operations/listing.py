"""Lists of payments and notifications, with keyset pagination in both directions.

Lists read plain documents, not MongoEngine objects, because one incomplete record must not hide the others. A
search runs one query for each searchable field, so that each uses an index, and merges the results.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

from app.ids import normalized_id
from app.models import Notification, Transaction
from app.operations.attention import decimal
from app.operations.reasons import reason_of

if TYPE_CHECKING:
    from app.models import Record

Document = dict[str, Any]
Condition = dict[str, Any]

#: Search fields of a payment. The personal ones require permission to see them.
PAYMENT_FIELDS = ("_id", "booking_id", "user_id", "gateway_id", "refunds.id")
PAYMENT_PERSONAL = ("contact.user_email", "contact.user_phone")
#: Search fields of a notification.
DELIVERY_FIELDS = ("booking_id", "event_id", "message_id", "event_data.movie_title")
DELIVERY_PERSONAL = ("recipient",)

#: Fields with our own ids: searched only if the text can be such an id.
_PREFIXES = {"_id": "TXN-", "refunds.id": "REF-"}

#: List fields: matched exactly, because two different entries could satisfy a range.
_WHOLE = frozenset({"refunds.id"})

#: Maximum number of documents that are read for one page if not all of them match.
_MAX_SCANNED = 5_000

#: Maximum number of search results that are summed up one by one.
_MAX_SUMMED = 5_000

#: Time limit of a summary, in milliseconds. It is loaded after the page and may take longer.
_SUMMARY_MS = 10_000

#: Maximum number of a movie's bookings whose payments are searched.
_MAX_BOOKINGS = 200

#: Maximum length of a search text.
_LAST = "\U0010ffff"


@dataclass(frozen=True)
class Position:
    """A position in a list: just before or after the record with this time and id."""

    at: datetime
    id: Any


@dataclass(frozen=True)
class Listing:
    """One page of a list.

    Attributes:
        rows: newest first.
        newer: position of the previous page; None on the first.
        older: position of the next page; None on the last.
        cut: not all records were examined. `older` continues with the rest.
    """

    rows: list[Document]
    newer: Position | None = None
    older: Position | None = None
    cut: bool = False


@dataclass(frozen=True)
class Totals:
    """Totals of a list.

    Attributes:
        sums: currency → (count, major units).
        at_least: the list has more records than were added up.
    """

    count: int = 0
    sums: dict[str, tuple[int, Decimal]] = field(default_factory=dict)
    at_least: bool = False


def starts_with(name: str, text: str) -> list[Condition]:
    """Return indexed conditions for a field that begins with `text` in common cases (upper, lower)."""
    if prefix := _PREFIXES.get(name):
        if not text.upper().startswith(prefix):
            return []
        words = [prefix + text[len(prefix) :].lower()]
    else:
        words = list(dict.fromkeys((text, text.upper(), text.lower(), text.title(), text.capitalize())))
    if name in _WHOLE:
        return [{name: word} for word in words]
    return [{name: {"$gte": word, "$lt": word + _LAST}} for word in words]


def search_payments(text: str, *, personal: bool) -> list[Condition]:
    """Return queries for payments by the prefix of an id or a movie, one for each index."""
    names = PAYMENT_FIELDS + (PAYMENT_PERSONAL if personal else ())
    queries = [condition for name in names for condition in starts_with(name, text)]
    if not personal:
        # A search for a complete address is allowed, because it reveals nothing new.
        queries += [{name: text} for name in PAYMENT_PERSONAL]
    titles = starts_with("event_data.movie_title", text)
    bookings: set[str] = set()
    for title in titles:
        found = Notification.select(title, ["booking_id"], limit=_MAX_BOOKINGS)
        ids = (each.get("booking_id") for each in found)
        bookings |= {normalized_id(found_id) for found_id in ids if isinstance(found_id, str)}
    if bookings:
        queries.append({"booking_id": {"$in": sorted(bookings)[:_MAX_BOOKINGS]}})
    return queries


def search_notifications(text: str, *, personal: bool) -> list[Condition]:
    """Return queries for notifications, one for each index."""
    names = DELIVERY_FIELDS + (DELIVERY_PERSONAL if personal else ())
    queries = [condition for name in names for condition in starts_with(name, text)]
    if not personal:
        queries += [{name: text} for name in DELIVERY_PERSONAL]
    return queries


def shows(row: Document, names: Iterable[str], text: str, visible: Callable[[str], str]) -> bool:
    """Return whether the visible part of a row contains the search text.

    Args:
        row: a record.
        names: the fields that were searched.
        text: the search text.
        visible: returns the part of a value that the person may see.
    """
    for name in names:
        value: Any = row
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str) and (value == text or visible(value).lower().startswith(text.lower())):
            return True
    return False


def page(
    record: type[Record],
    queries: Sequence[Condition],
    size: int,
    *,
    position: Position | None = None,
    newer: bool = False,
    accept: Callable[[Document], bool] | None = None,
    fields: Sequence[str] | None = None,
) -> Listing:
    """Return one page of the records that meet any of the queries, newest first.

    Args:
        record: their model.
        queries: conditions, each with an index.
        size: at most this many rows.
        position: where to begin; None for the newest.
        newer: read toward newer records.
        accept: which records to show; None for all.
        fields: the fields to read; None for all.
    """
    limit = _MAX_SCANNED if accept else size + 1
    scanned: Document | None = None
    count = 0
    rows: list[Document] = []
    for row in _merged(record, queries, position, limit, newer=newer, fields=fields):
        count += 1
        scanned = row
        if accept is None or accept(row):
            rows.append(row)
        if len(rows) > size or count >= limit:
            break
    more = len(rows) > size
    cut = not more and accept is not None and count >= limit
    rows = rows[:size]
    end = _position(rows[-1]) if more else _position(scanned) if cut and scanned else None
    start = _position(rows[0]) if rows and position else None
    if newer:
        rows.reverse()
        return Listing(rows, newer=end, older=start, cut=cut)
    return Listing(rows, newer=start, older=end, cut=cut)


def everything(
    record: type[Record],
    queries: Sequence[Condition],
    accept: Callable[[Document], bool] | None = None,
) -> Iterator[Document]:
    """Yield every record that meets any of the queries, newest first."""
    found = _merged(record, queries, None, 0, newer=False)
    return filter(accept, found) if accept else found


def _merged(
    record: type[Record],
    queries: Sequence[Condition],
    position: Position | None,
    limit: int,
    *,
    newer: bool,
    fields: Sequence[str] | None = None,
) -> Iterator[Document]:
    """Yield the records of all queries in order, each once."""
    order = 1 if newer else -1
    cursors = []
    for query in queries:
        beyond = _beyond(position, newer=newer) if position else {}
        condition = {"$and": [query, beyond]} if query and beyond else query or beyond
        sort = (("created_at", order), ("_id", order))
        cursors.append(record.select(condition, fields, sort=sort, limit=limit))
    if len(cursors) == 1:
        yield from cursors[0]
        return
    # A search query has few results, which are read immediately so that the next query does not wait.
    last: Any = None
    for row in heapq.merge(*cursors, key=_sort_key, reverse=not newer):
        if row["_id"] != last:
            yield row
        last = row["_id"]


def _sort_key(row: Document) -> tuple[float, str]:
    at = row.get("created_at")
    return (at.timestamp() if isinstance(at, datetime) else 0.0, str(row["_id"]))


def _beyond(position: Position, *, newer: bool) -> Condition:
    operator = "$gt" if newer else "$lt"
    same_time = {"created_at": position.at, "_id": {operator: position.id}}
    return {"$or": [{"created_at": {operator: position.at}}, same_time]}


def _position(row: Document) -> Position | None:
    at = row.get("created_at")
    return Position(at, row["_id"]) if isinstance(at, datetime) else None


def totals(queries: Sequence[Condition], accept: Callable[[Document], bool] | None = None) -> Totals:
    """Add up payments by currency."""
    if len(queries) == 1 and accept is None:
        group = {"_id": "$currency", "count": {"$sum": 1}, "amount": {"$sum": "$amount"}}
        stages = [{"$match": queries[0]}, {"$group": group}]
        found = list(Transaction.summarize(stages, _SUMMARY_MS))
        sums = {str(each["_id"] or "unknown"): (each["count"], decimal(each["amount"])) for each in found}
        return Totals(sum(count for count, _ in sums.values()), dict(sorted(sums.items())))
    counts, amounts, number = Counter[str](), Counter[str](), 0
    for row in islice(everything(Transaction, queries, accept), _MAX_SUMMED + 1):
        number += 1
        currency = str(row.get("currency") or "unknown")
        counts[currency] += 1
        amounts[currency] += decimal(row.get("amount"))  # type: ignore[assignment] # Decimals add alike
    sums = {currency: (counts[currency], Decimal(amounts[currency])) for currency in sorted(counts)}
    return Totals(number, sums, at_least=number > _MAX_SUMMED)


def count_notifications(
    queries: Sequence[Condition], accept: Callable[[Document], bool] | None = None
) -> Totals:
    """Count notifications."""
    if len(queries) == 1 and accept is None:
        stages = [{"$match": queries[0]}, {"$group": {"_id": None, "count": {"$sum": 1}}}]
        found = list(Notification.summarize(stages, _SUMMARY_MS))
        return Totals(found[0]["count"] if found else 0)
    number = sum(1 for _ in islice(everything(Notification, queries, accept), _MAX_SUMMED + 1))
    return Totals(number, at_least=number > _MAX_SUMMED)


def payment_reasons(query: Condition) -> list[tuple[str, int]]:
    """Group failed payments by error code, the most frequent first."""
    failed = {"$and": [query, {"status": "failed"}]} if query else {"status": "failed"}
    return _grouped(Transaction, failed, "error_code", str)


def delivery_reasons(query: Condition) -> list[tuple[str, int]]:
    """Group notifications that were not accepted by reason, the most frequent first."""
    troubled = {"status": {"$in": ["failed", "uncertain", "retrying", "skipped", "bounced", "undelivered"]}}
    condition = {"$and": [query, troubled]} if query else troubled
    return _grouped(Notification, condition, "error_message", reason_of)


def _grouped(
    record: type[Record], condition: Condition, name: str, key: Callable[[Any], str]
) -> list[tuple[str, int]]:
    stages = [{"$match": condition}, {"$group": {"_id": f"${name}", "count": {"$sum": 1}}}]
    groups = Counter[str]()
    for each in record.summarize(stages, _SUMMARY_MS):
        groups[key(each["_id"]) if each["_id"] else "none"] += each["count"]
    return groups.most_common(12)

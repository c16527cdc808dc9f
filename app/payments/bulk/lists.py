"""Read lists of payments and bookings from CSV, as spreadsheets write it, or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.errors import InvalidRequest
from app.ids import normalized_id
from app.payments.bulk.records import MAX_LINES, Entry

#: Maximum bytes of a list.
MAX_LIST_BYTES = 5_000_000

_MAX_ID_LENGTH = 128
_DELIMITERS = ",;\t"

#: Column or member → field of an entry.
_FIELDS = {"transaction_id": "transaction_id", "transaction": "transaction_id", "booking_id": "booking_id"}
_FIELDS |= {"booking": "booking_id"}

_EXPECTED = (
    "The list must be CSV with a column transaction_id or booking_id, text with one id per line, or a JSON "
    "array of ids or of objects with a transaction_id or booking_id."
)


def read_list(data: bytes) -> list[Entry]:
    """Read a list.

    Args:
        data: CSV or JSON in UTF-8. A line has a payment, a booking, or a matching pair of both.

    Raises:
        InvalidRequest: the list is neither CSV nor JSON, too long, or empty. The message has the line number.
    """
    if len(data) > MAX_LIST_BYTES:
        raise InvalidRequest(f"The list is larger than {MAX_LIST_BYTES} bytes. Split the list.")
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise InvalidRequest("The list is not valid UTF-8. Save the list as UTF-8 text.") from None
    unit, rows = ("Entry", _json_rows(text)) if text[:1] in ("[", "{") else ("Line", _csv_rows(text))
    entries: list[Entry] = []
    for number, row in rows:
        if len(entries) == MAX_LINES:
            raise InvalidRequest(f"The list has more than {MAX_LINES} entries. Split the list.")
        entries.append(_entry(number, row, unit))
    if not entries:
        raise InvalidRequest(f"The list has no entries. {_EXPECTED}")
    return entries


def _json_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"The list is not valid JSON. {_EXPECTED}") from None
    if not isinstance(parsed, list):
        raise InvalidRequest(_EXPECTED)
    for number, item in enumerate(parsed, 1):
        if isinstance(item, str):
            yield number, _named(item)
        elif isinstance(item, dict):
            yield number, item
        else:
            raise InvalidRequest(f"Entry {number} is neither an id nor an object. {_EXPECTED}")


def _csv_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not text:
        return
    first = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns: Sequence[str] | None = None
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if columns is None:
                columns = [cell.lower() for cell in cells]
                if _FIELDS.keys() & set(columns):
                    continue
                columns = ()
            yield reader.line_num, dict(zip(columns, cells, strict=False)) if columns else _only(row)
    except csv.Error as error:
        raise InvalidRequest(f"Line {reader.line_num} of the list is not valid CSV: {error}.") from None


def _only(row: Iterable[str]) -> Mapping[str, str]:
    cells = list(row)
    if len(cells) != 1:
        raise InvalidRequest(f"The first line has no column transaction_id or booking_id. {_EXPECTED}")
    return _named(cells[0].strip())


def _named(found: str) -> Mapping[str, str]:
    return {"transaction_id" if found.startswith("TXN-") else "booking_id": found}


def _entry(number: int, row: Mapping[str, Any], unit: str) -> Entry:
    found: dict[str, str] = {}
    for name, field in _FIELDS.items():
        value = row.get(name)
        if value in (None, ""):
            continue
        if not isinstance(value, str) or len(value) > _MAX_ID_LENGTH:
            raise InvalidRequest(
                f"{unit} {number}: {name} must be a string of 1 to {_MAX_ID_LENGTH} characters."
            )
        found[field] = normalized_id(value)
    if not found:
        raise InvalidRequest(f"{unit} {number} names neither a transaction nor a booking. {_EXPECTED}")
    return Entry(number, found.get("transaction_id"), found.get("booking_id"))

"""Lists of payments and bookings, as people and programs write them."""

from __future__ import annotations

import json

import pytest

from app.errors import InvalidRequest
from app.payments.bulk.lists import read_list
from app.payments.bulk.records import MAX_LINES, Entry


def ids(text: str) -> list[tuple[str | None, str | None]]:
    return [(entry.transaction_id, entry.booking_id) for entry in read_list(text.encode())]


@pytest.mark.parametrize(
    "text",
    [
        "transaction_id\nTXN-1\nTXN-2\n",
        "\ufefftransaction_id;seat\r\nTXN-1;A1\r\nTXN-2;A2\r\n",
        "Transaction_ID\tstatus\nTXN-1\tpaid\n\nTXN-2\tpaid",
        "TXN-1\nTXN-2",
        '["TXN-1", "TXN-2"]',
        '[{"transaction_id": "TXN-1", "amount": 5}, {"transaction": "TXN-2"}]',
    ],
)
def test_every_common_notation_is_read(text: str) -> None:
    assert ids(text) == [("TXN-1", None), ("TXN-2", None)]


def test_bookings_and_both_ids_are_read() -> None:
    assert ids("booking_id\nBOOK-1") == [(None, "BOOK-1")]
    assert ids("BOOK-1\nTXN-2") == [(None, "BOOK-1"), ("TXN-2", None)]
    assert ids("booking_id,transaction_id\nBOOK-1,TXN-1\nBOOK-2,") == [("TXN-1", "BOOK-1"), (None, "BOOK-2")]


def test_ids_are_normalized_as_those_of_payments() -> None:
    assert ids("booking_id\nBOOK-e\u0301") == [(None, "BOOK-\u00e9")]


def test_entries_keep_the_number_of_their_line() -> None:
    assert read_list(b"booking_id\nBOOK-1\n\nBOOK-2") == [
        Entry(2, booking_id="BOOK-1"),
        Entry(4, booking_id="BOOK-2"),
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no entries"),
        (b"transaction_id\n", "no entries"),
        (b"[]", "no entries"),
        (b"\xff\xfe", "UTF-8"),
        (b"[1]", "Entry 1"),
        (b'{"transactions": []}', "must be CSV"),
        (b'["TXN-1"', "not valid JSON"),
        (b'[{"seat": "A1"}]', "Entry 1 names neither"),
        (b'[{"transaction_id": 5}]', "Entry 1: transaction_id must be a string"),
        (b"seat,row\n1,2", "has no column"),
        (b"booking_id,seat\n,A1", "Line 2 names neither"),
        (b"booking_id\n" + b"x" * 129, "1 to 128 characters"),
        (b'booking_id\n"BOOK-1', "not valid CSV"),
        (b"x" * 5_000_001, "larger than"),
        (json.dumps(["B"] * (MAX_LINES + 1)).encode(), "more than 10000 entries"),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(data: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_list(data)

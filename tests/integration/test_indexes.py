"""Each index of the payments serves a query; unused indexes are not declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from app.models import Transaction
from app.operations import attention, finding, listing, stats
from app.payments.ledger.mongo import MongoLedger
from tests.support.queries import RecordedQueries, indexes_of, record_queries

if TYPE_CHECKING:
    from app.settings import Settings

THEN = datetime(2026, 1, 1, tzinfo=UTC)
ledger = MongoLedger()


def claim(booking: str) -> None:
    """Look up the payment that holds the booking, as a refused insert does."""
    Transaction.collection().find_one({"open_booking": booking}, ["_id"])


def list_failures() -> None:
    listing.page(Transaction, [{"error_code": "card_declined"}], 50)


def search(text: str) -> None:
    list(listing.everything(Transaction, listing.search_payments(text, personal=True)))


def look_up(conditions: Any) -> None:
    for record, condition in conditions:
        condition.find(record, 10)


#: Index → an operation that needs it.
OPERATIONS: dict[str, Callable[[], Any]] = {
    "open_booking_1": lambda: claim("B"),
    "outbox_since_1": lambda: ledger.backlog(),
    "recover_after_1": lambda: ledger.count_overdue(THEN),
    "booking_id_1_created_at_-1": lambda: list(ledger.search(None, booking_id="B")),
    "user_id_1_created_at_-1": lambda: list(ledger.search(None, user_id="U")),
    "created_at_-1__id_-1": lambda: stats._payments(THEN, THEN.replace(hour=1), UTC),  # type: ignore[arg-type]
    "status_1_created_at_-1__id_-1": lambda: list(ledger.search(None, status="pending")),
    "failures_by_error_code": list_failures,
    "gateway_id_1": lambda: ledger.find_by_gateway_id("pi_1"),
    "refunds.id_1": lambda: ledger.find_by_refund("REF-1"),
    "refunds.gateway_id_1": lambda: look_up(finding.exactly("re_1")),
    "disputes.id_1": lambda: look_up(finding.exactly("dp_1")),
    "disputes.status_1": lambda: ledger.disputed(10),
    "stray_charge_1": lambda: attention._sums(attention.issue_filters(THEN)["charged"]),
    "history.request_id_1": lambda: look_up(finding.exactly("request")),
    "exact_email": lambda: search("jane@example.com"),
    "contact.user_email_1": lambda: look_up(finding.of_email("jane@example.com")),
    "contact.user_phone_1": lambda: look_up(finding.of_phone("+14155550100")),
}


def payment_queries(requested: RecordedQueries) -> list[dict[str, Any]]:
    return [query for query in requested.queries if query["collection"] == "transaction_logs"]


@pytest.fixture
def requested(stored_settings: Settings) -> Iterator[RecordedQueries]:
    with record_queries(stored_settings) as requested:
        yield requested


@pytest.mark.parametrize("index", OPERATIONS)
def test_an_index_serves_its_query(requested: RecordedQueries, index: str) -> None:
    OPERATIONS[index]()
    assert index in {each for query in payment_queries(requested) for each in indexes_of(query)}


def test_every_declared_index_has_a_query(requested: RecordedQueries) -> None:
    declared = set(Transaction.collection().index_information()) - {"_id_"}
    assert declared == set(OPERATIONS)

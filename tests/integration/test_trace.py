"""`movieapp trace`: a timeline by any id, prefix, or address; every query uses an index."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from app import models
from app.errors import TransactionNotFound
from app.models import Dispute, Move, Notification, Refund, Transaction
from app.models.database import CASE_INSENSITIVE
from app.operations import finding
from app.operations.finding import AmbiguousId, exactly, of_email, of_phone
from app.operations.trace import story, trace
from app.payments.orders import PaymentOrder
from app.payments.service import make_payments
from tests.support.commands import movieapp
from tests.support.queries import indexes_of, record_queries

if TYPE_CHECKING:
    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

AT = datetime(2026, 12, 1, 10, tzinfo=UTC)
PAYMENT = "TXN-7c6b5a49382716059483726150493827"
REFUND = "REF-1f2e3d4c5b6a79880918273645546372"


@pytest.fixture
def recorded(redis_settings: Settings) -> Settings:
    """Two payments with their notifications, of two customers."""
    models.connect(redis_settings)
    contact = {"user_email": "Jane.Doe@Example.com", "user_phone": "+14155550100"}
    add_payment(
        PAYMENT,
        "BOOK-123",
        "user_jane",
        contact=contact,
        gateway_id="pi_3Mx7aLkE",
        refunds=[
            Refund(
                id=REFUND,
                status="completed",
                amount=Decimal(5),
                reason="r",
                gateway_id="re_3Mx7",
                created_at=AT,
            )
        ],
        disputes=[Dispute(id="dp_1Qx9", status="needs_response", at=AT)],
    )
    add_payment("TXN-8aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "BOOK-124", "user_john", gateway_id="pi_4Zz")
    add_notification("evt_jane", "BOOK-123", "jane.doe@example.com", "user_jane")
    add_notification("evt_sms", "BOOK-123", "+14155550100", "user_jane", notification_type="sms")
    add_notification("evt_john", "BOOK-124", "john@example.com", "user_john")
    add_notification("evt_only", "BOOK-200", "mary@example.com", "user_mary")
    return redis_settings


def add_payment(transaction_id: str, booking_id: str, user_id: str, **fields: Any) -> None:
    Transaction(
        id=transaction_id,
        status="completed",
        booking_id=booking_id,
        user_id=user_id,
        amount=Decimal(25),
        currency="USD",
        payment_method="credit_card",
        created_at=AT,
        **{"history": [Move(at=AT, status="pending", actor="api", request_id=f"req-{booking_id}")], **fields},
    ).insert()


def add_notification(event_id: str, booking_id: str, recipient: str, user_id: str, **fields: Any) -> None:
    Notification(
        event_id=event_id,
        event_type="payment.success",
        status="sent",
        booking_id=booking_id,
        recipient=recipient,
        message_id=f"<{event_id}@movies.example>",
        event_data={"event_id": event_id, "user_id": user_id},
        created_at=AT,
        **{"notification_type": "email", **fields},
    ).insert()


def subjects(search: str) -> set[str]:
    return {entry.detail.get("booking", "") for entry in trace(search)} - {""}


@pytest.mark.parametrize(
    "search",
    [
        PAYMENT,
        PAYMENT.lower(),
        PAYMENT.upper(),
        REFUND,
        REFUND.lower(),
        "BOOK-123",
        "book-123",
        "user_jane",
        "USER_JANE",
        "pi_3Mx7aLkE",
        "re_3Mx7",
        "dp_1Qx9",
        "req-BOOK-123",
        "evt_jane",
        "EVT_JANE",
        "<evt_jane@movies.example>",
        "evt_jane@movies.example",
        "JANE.DOE@example.COM",
        "+14155550100",
        "+1 (415) 555-0100",
        "TXN-7c6b",
        "txn-7c6b",
        "pi_3M",
        "REF-1f2e",
        "user_ja",
        "evt_ja",
        "BOOK-123 ",
    ],
)
def test_a_timeline_is_found_by_any_id_prefix_or_address(recorded: Settings, search: str) -> None:
    assert subjects(search) == {"BOOK-123"}


@pytest.mark.parametrize("search", ["BOOK-\u00e9", "BOOK-e\u0301", "BOOK-\u00e91", "evt_e"])
def test_an_event_that_decomposes_a_bookings_id_belongs_to_its_payment(
    redis_settings: Settings, search: str
) -> None:
    models.connect(redis_settings)
    add_payment("TXN-9aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "BOOK-\u00e912", "user_e")
    add_notification("evt_e", "BOOK-e\u030112", "e@example.com", "user_e")
    assert subjects(search) == {"BOOK-\u00e912", "BOOK-e\u030112"}


def test_a_customer_without_payments_is_found_too(recorded: Settings) -> None:
    for search in ("user_mary", "mary@example.com", "BOOK-200"):
        assert subjects(search) == {"BOOK-200"}


def test_an_ambiguous_prefix_lists_the_ids(recorded: Settings) -> None:
    with pytest.raises(AmbiguousId, match=r"BOOK-123 \(booking\), BOOK-124 \(booking\), BOOK-200"):
        trace("BOOK-")
    for number in range(30):
        add_notification(f"evt_many_{number:02}", "BOOK-123", "jane.doe@example.com", "user_jane")
    with pytest.raises(AmbiguousId, match=r"evt_many_00.*evt_many_09.* and more"):
        trace("evt_many")
    assert len(trace("evt_many_0"[:-2] + "_17")) > 1


@pytest.mark.parametrize(
    "search", ["BO", "TXN-0000", "nobody@example.com", "+491701234567", "6564f1c2a1b2c3d4e5f60718"]
)
def test_an_unknown_id_is_not_found(recorded: Settings, search: str) -> None:
    with pytest.raises(TransactionNotFound):
        trace(search)


def test_every_query_uses_an_index(recorded: Settings) -> None:
    conditions = [
        *exactly("6564f1c2a1b2c3d4e5f60718"),
        *of_email("jane@example.com"),
        *of_phone("+14155550100"),
    ]
    assert len(conditions) >= 15
    for record, condition in conditions:
        query = record.collection().find(condition.filter)
        if condition.ignore_case:
            query = query.collation(CASE_INSENSITIVE)
        plan = str(query.explain()["queryPlanner"]["winningPlan"])
        # SecantusDB's query plans show no index for _id, or for a sparse index with another condition.
        if not condition.filter.keys() & {"_id", "outbox_since"}:
            assert "IXSCAN" in plan, (condition, plan)


@pytest.mark.parametrize("prefix", ["TXN-7c6b", "REF-1f2e", "req_7", "BOOK-12", "evt_o", "pi_3M", "none"])
def test_every_query_for_a_prefix_uses_an_index(recorded: Settings, prefix: str) -> None:
    with record_queries(recorded) as requested, suppress(AmbiguousId, TransactionNotFound):
        trace(prefix)
    models.connect(recorded)
    # SecantusDB's query plans show no index for _id, or for a sparse index with another condition.
    queries = [each for each in requested.queries if not each["filter"].keys() & {"_id", "outbox_since"}]
    assert len(queries) > len(finding.PAYMENT_IDS)
    assert [query for query in queries if not list(indexes_of(query))] == []
    # Nor do they show that with $nin, the whole collection is read.
    assert [query for query in queries if "$nin" in str(query["filter"])] == []


def test_a_prefix_in_a_list_is_found_beside_lists_that_surround_it(recorded: Settings) -> None:
    for number, requests in enumerate((["req_1", "req_9"], ["req_55"])):
        moves = [Move(at=AT, status="pending", actor="api", request_id=each) for each in requests]
        add_payment(f"TXN-{number}", f"BOOK-{number}", "user_x", history=moves)
    assert {entry.subject for entry in trace("req_5")} == {"TXN-1"}


def test_a_prefix_of_two_ids_is_ambiguous_however_many_records_one_has(recorded: Settings) -> None:
    for number in range(30):
        add_payment(f"TXN-a{number}", f"BOOK-a{number}", "cust_a" if number != 17 else "cust_b")
    with pytest.raises(AmbiguousId, match=r"cust_a \(user\), cust_b \(user\)"):
        trace("cust_")


def test_a_long_timeline_is_truncated_and_says_so(recorded: Settings) -> None:
    assert not story("user_jane").more
    for number in range(101):
        add_notification(f"evt_{number}", "BOOK-123", "jane.doe@example.com", "user_jane")
    assert story("BOOK-123").more


def test_a_stripe_id_leads_to_its_payment(redis_settings: Settings, private_stripe: StripeSimulator) -> None:
    settings = redis_settings.model_copy(update=private_stripe.settings)
    models.connect(settings)
    side = make_payments(settings)
    order = PaymentOrder("user_1", "BOOK-1", Decimal(25), "USD", "credit_card")
    payment = side.pay(order, PAYMENT).payment
    charge = private_stripe.charges(PAYMENT)[0]["id"]
    found = json.loads(movieapp(settings, "trace", charge, "--json").stdout)
    assert {entry["subject"] for entry in found} == {payment.id}
    missing = movieapp(settings, "trace", "ch_none")
    assert (missing.returncode, "no charge ch_none" in missing.stderr) == (1, True)

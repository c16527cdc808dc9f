"""Store payments and deliveries: one of each made by the application, and thousands of copies."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import UpdateOne

from actors import deliveries
from app.channels import ChannelName
from app.clock import utcnow
from app.ids import new_id
from app.models import Notification, Transaction
from app.payments.orders import PaymentOrder
from app.payments.service import Payments
from benchmarks.mailers import ticket
from benchmarks.queries import Watch

#: Number of documents written at once.
_BATCH = 1_000

#: Interval between two copies: one every half minute is a million in a year.
_PACE = timedelta(seconds=30)

#: Number of the newest copy, which has the current time.
LAST = 1_000_000
_FIRST = utcnow() - LAST * _PACE


def pay(payments: Payments) -> str:
    """Take a payment whose event stays in the outbox. Return its id."""
    contact = {"user_email": "jane.doe@example.com", "user_name": "Jane Doe"}
    order = PaymentOrder("user_1", new_id("BOOK-"), Decimal("25.50"), None, "credit_card", contact=contact)
    return str(payments.pay(order, new_id("TXN-")).payment.id)


def deliver(watch: Watch, size: int) -> ObjectId:
    """Record a delivery as a worker does, from its event to its outcome. Return its id."""
    event = ticket(uuid.uuid4().hex)
    with watch.operation("record, claim, sent", size):
        delivery, _ = deliveries.record(event, ChannelName.EMAIL, "booking_confirmation", event["user_email"])
        with watch.operation("of which the claim", size):
            deliveries.claim(str(delivery.id), utcnow() + timedelta(minutes=5))
        fields = {"subject": "Your tickets", "message_id": f"<{event['event_id']}@movieapp.example.com>"}
        deliveries.sent(delivery, utcnow(), **fields)
    found: ObjectId = delivery.id
    return found


def payment_id(number: int) -> str:
    """Return the id of a copy, as random as the application's."""
    return f"TXN-{_own(number)}"


def delivery_id(number: int) -> ObjectId:
    """Return the id of a copy, greater than those of earlier copies, like the ids that MongoDB's drivers
    create.
    """
    return ObjectId(number.to_bytes(12))


def fill(uri: str, payment: dict[str, Any], delivery: dict[str, Any], start: int, end: int) -> float:
    """Store copies of a payment and of a delivery. Return the documents stored a second.

    Args:
        uri: of the database. A separate client has no timeout, because a batch may have to wait for the
            server's
            disk.
        payment, delivery: finished documents.
        start, end: numbers of the copies.
    """
    started = time.monotonic()
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        database = client.get_default_database()
        for first in range(start, end, _BATCH):
            numbers = range(first, min(first + _BATCH, end))
            paid = [_payment(payment, number) for number in numbers]
            database[Transaction._get_collection_name()].insert_many(paid, ordered=False)
            sent = [_delivery(delivery, number) for number in numbers]
            database[Notification._get_collection_name()].insert_many(sent, ordered=False)
    return 2 * (end - start) / (time.monotonic() - started)


def let_wait(numbers: Iterable[int], entry: dict[str, Any]) -> None:
    """Add an event to the outbox of copies of the payment, each with an id of its own.

    Args:
        numbers: of the copies.
        entry: of an outbox.
    """
    since = utcnow() - timedelta(hours=1)
    Transaction._get_collection().bulk_write(
        [
            UpdateOne(
                {"_id": payment_id(number)},
                {"$set": {"outbox": [entry | {"event_id": new_id("evt_")}], "outbox_since": since}},
            )
            for number in numbers
        ]
    )


def _own(number: int) -> str:
    return uuid.uuid5(uuid.NAMESPACE_OID, str(number)).hex


def _payment(paid: dict[str, Any], number: int) -> dict[str, Any]:
    own, at = _own(number), _FIRST + number * _PACE
    ids = {"_id": payment_id(number), "user_id": f"user_{own}", "gateway_id": f"pi_{own}"}
    booking = {"booking_id": f"BOOK-{own}", "open_booking": f"BOOK-{own}"}
    history = [{**move, "at": at, "request_id": own} for move in paid["history"]]
    return paid | ids | booking | {"created_at": at, "processed_at": at, "history": history}


def _delivery(sent: dict[str, Any], number: int) -> dict[str, Any]:
    own, at = _own(number), _FIRST + number * _PACE
    ids = {"event_id": f"evt_{own}", "booking_id": f"BOOK-{own}"}
    mail = {"recipient": f"{own}@example.com", "message_id": f"<{own}@movieapp.example.com>"}
    event = sent["event_data"] | ids | {"user_email": mail["recipient"]}
    stored = {"_id": delivery_id(number), "event_data": event, "created_at": at, "sent_at": at}
    return sent | ids | mail | stored

"""Group payments and notifications: counts, time spans, sums, and affected customers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from app.models import Notification, Transaction, storage_errors
from app.operations.attention import decimal
from app.operations.reasons import reason_of


@dataclass(frozen=True)
class Total:
    """Payments of one status, reason, and currency.

    Attributes:
        amount, refunded: totals in major units.
        first, last: when the oldest and newest were created.
    """

    status: str
    error_code: str | None
    currency: str
    count: int
    amount: Decimal
    refunded: Decimal
    first: datetime
    last: datetime


@dataclass
class Reason:
    """Notifications with the same status and error.

    Attributes:
        recipients, bookings: numbers of different ones.
        first, last: when the oldest and newest were recorded.
    """

    status: str
    channel: str
    reason: str
    first: datetime
    last: datetime
    count: int = 0
    recipients: set[str] = field(default_factory=set)
    bookings: set[str] = field(default_factory=set)


def payment_totals(status: str | None = None, since: datetime | None = None) -> list[Total]:
    """Return sums of the payments that match, the largest of each currency first.

    Raises:
        ServiceUnavailable: MongoDB is unavailable.
    """
    group = {"status": "$status", "error": "$error_code", "currency": "$currency"}
    sums = {
        "count": {"$sum": 1},
        "amount": {"$sum": "$amount"},
        "refunded": {"$sum": "$amount_refunded"},
        "first": {"$min": "$created_at"},
        "last": {"$max": "$created_at"},
    }
    with storage_errors():
        found = Transaction.objects(**_filter(status, since)).aggregate([{"$group": {"_id": group, **sums}}])
        totals = [_total(each) for each in found]
    return sorted(totals, key=lambda total: (total.currency, -total.amount))


def notification_reasons(status: str | None = None, since: datetime | None = None) -> list[Reason]:
    """Return the reasons for notifications' statuses, the most frequent first.

    Raises:
        ServiceUnavailable: MongoDB is unavailable.
    """
    names = ("status", "notification_type", "error_message", "recipient", "booking_id", "created_at")
    with storage_errors():
        reasons: dict[tuple[str, str, str], Reason] = {}
        for each in Notification.objects(**_filter(status, since)).only(*names).as_pymongo():
            error = each.get("error_message")
            key = (str(each.get("status")), str(each.get("notification_type")), reason_of(error))
            at = each["created_at"]
            reason = reasons.setdefault(key, Reason(*key, at, at))
            reason.count += 1
            reason.first, reason.last = min(reason.first, at), max(reason.last, at)
            reason.recipients |= {each["recipient"]} if each.get("recipient") else set()
            reason.bookings |= {each["booking_id"]} if each.get("booking_id") else set()
    return sorted(reasons.values(), key=lambda reason: -reason.count)


def _filter(status: str | None, since: datetime | None) -> dict[str, Any]:
    given = {"status": status, "created_at__gte": since}
    return {name: value for name, value in given.items() if value is not None}


def _total(found: Mapping[str, Any]) -> Total:
    of = found["_id"]
    return Total(
        of.get("status") or "unknown",
        of.get("error"),
        of.get("currency") or "unknown",
        found["count"],
        decimal(found["amount"]),
        decimal(found["refunded"]),
        found["first"],
        found["last"],
    )

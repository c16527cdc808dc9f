"""Read one stored payment or notification, even if it is incomplete."""

from __future__ import annotations

from typing import Any

from bson import ObjectId

from app.ids import forms_of
from app.models import Notification, Transaction, storage_errors

#: Maximum number of notifications shown for a booking.
_MAX_NOTIFICATIONS = 100


def payment_document(any_id: str) -> dict[str, Any] | None:
    """Return a payment by its id, or by the id of one of its refunds.

    Raises:
        ServiceUnavailable: MongoDB is unavailable.
    """
    name = "refunds.id" if any_id.startswith("REF-") else "_id"
    with storage_errors():
        return next(iter(Transaction.select({name: any_id}, limit=1)), None)


def notification_document(notification_id: str) -> dict[str, Any] | None:
    """Return the notification with that id.

    Raises:
        ServiceUnavailable: MongoDB is unavailable.
    """
    if not ObjectId.is_valid(notification_id):
        return None
    with storage_errors():
        return next(iter(Notification.select({"_id": ObjectId(notification_id)}, limit=1)), None)


def notifications_of(booking_id: object) -> list[dict[str, Any]]:
    """Return the notifications about a booking, oldest first.

    Raises:
        ServiceUnavailable: MongoDB is unavailable.
    """
    if not isinstance(booking_id, str):
        return []
    with storage_errors():
        about = {"booking_id": {"$in": forms_of(booking_id)}}
        return list(Notification.select(about, sort=[("created_at", 1)], limit=_MAX_NOTIFICATIONS))

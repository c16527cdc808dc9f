"""Write bounces and receipts to the records of deliveries.

Each change is a compare-and-set, because reports and the worker's own writes arrive in any order: a report
may come before the worker records the acceptance, or after the worker died.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from bson import ObjectId

from app.delivery_status import DeliveryStatus
from app.feedback.outcome import log_outcome
from app.models import Attempt, Notification

#: Maximum stored characters of a server's reply.
_MAX_REPLY = 500

#: New status → the statuses that it may follow. A delivered message stays delivered, whatever was reported
#: before.
_FOLLOWS: dict[DeliveryStatus, Collection[DeliveryStatus]] = {
    DeliveryStatus.SENT: (DeliveryStatus.SENDING, DeliveryStatus.UNCERTAIN),
    DeliveryStatus.DELIVERED: (
        DeliveryStatus.SENDING,
        DeliveryStatus.UNCERTAIN,
        DeliveryStatus.SENT,
        DeliveryStatus.UNDELIVERED,
    ),
    DeliveryStatus.UNDELIVERED: (
        DeliveryStatus.SENDING,
        DeliveryStatus.UNCERTAIN,
        DeliveryStatus.SENT,
    ),
    DeliveryStatus.BOUNCED: (DeliveryStatus.SENDING, DeliveryStatus.UNCERTAIN, DeliveryStatus.SENT),
}

#: Its worker died, perhaps after the message was accepted. Any report proves the acceptance.
_ABANDONED = {
    "status": {"$in": [DeliveryStatus.QUEUED, DeliveryStatus.RETRYING]},
    "abandoned": {"$gt": 0},
}


def returned(notification: Notification, status: DeliveryStatus, detail: str, now: datetime) -> bool:
    """Record that an accepted message did not arrive.

    Args:
        notification: the delivery.
        status: bounced or undelivered.
        detail: the reply, or the error's meaning.
        now: when the report arrived.

    Returns:
        Whether the record changed. False if the delivery was returned before, or is being resent.
    """
    return _settle(notification, status, detail, now, {"error_message": detail, "returned_at": now}, ())


def arrived(notification: Notification, status: DeliveryStatus, detail: str, now: datetime) -> bool:
    """Record that a message was accepted or delivered.

    Args:
        notification: the delivery.
        status: sent or delivered.
        detail: what was reported.
        now: when the report arrived.

    Returns:
        Whether the record changed.
    """
    changes = {} if notification.sent_at else {"sent_at": now}
    return _settle(notification, status, detail, now, changes, ("error_message", "returned_at"))


def noted(notification: Notification, outcome: str, detail: str, now: datetime) -> bool:
    """Record a report that does not change the status. Each outcome is recorded once for a delivery.

    Args:
        notification: the delivery.
        outcome: a name for the report, in the list of attempts.
        detail: what it says.
        now: when it arrived.

    Returns:
        Whether the record changed.
    """
    attempt = Attempt(at=now, outcome=outcome, detail=detail[:_MAX_REPLY]).to_mongo()
    return Notification.compare_and_set(
        {"_id": ObjectId(notification.id), "attempts.outcome": {"$ne": outcome}},
        {"$push": {"attempts": attempt}},
    )


def _settle(
    notification: Notification,
    status: DeliveryStatus,
    detail: str,
    now: datetime,
    changes: dict[str, Any],
    removed: Collection[str],
) -> bool:
    detail = detail[:_MAX_REPLY]
    attempt = Attempt(at=now, outcome=status, detail=detail).to_mongo()
    follows = {"status": {"$in": list(_FOLLOWS[status])}}
    # The delivery was resent meanwhile, so the report is about an earlier message.
    same_message = {"resends": notification.resends or {"$in": [0, None]}}
    settled = Notification.compare_and_set(
        {"_id": ObjectId(notification.id), **same_message, "$or": [follows, _ABANDONED]},
        {
            "$set": {"status": status, **changes},
            "$unset": dict.fromkeys(("due_at", *removed), True),
            "$push": {"attempts": attempt},
        },
    )
    if settled:
        log_outcome(notification, status, detail)
    return settled

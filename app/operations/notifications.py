"""Find, resend, and erase recorded deliveries."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis
from bson import ObjectId
from dramatiq.errors import BrokerConnectionError

from app.channels import ChannelName
from app.clock import utcnow
from app.delivery_status import ARRIVED, FINISHED, DeliveryStatus
from app.errors import ServiceUnavailable
from app.ids import forms_of
from app.models import GRACE, Attempt, Notification
from app.models.database import CASE_INSENSITIVE
from app.operations.audit import Operator, record_action
from app.operations.finding import recipient_filter
from app.payments.changes import ERASED
from app.privacy.redaction import redacted, redacted_reply

#: Status → why a delivery with this status is not resent. Other statuses are resent.
_NOT_RESENT = {
    DeliveryStatus.SENDING: "being sent now",
    DeliveryStatus.SENT: "already sent; pass --force to send it again",
    DeliveryStatus.DELIVERED: "already delivered; pass --force to send it again",
}


@dataclass(frozen=True)
class Criteria:
    """A filter of deliveries. A field that is None matches all.

    Attributes:
        since: recorded at this time or later.
    """

    status: DeliveryStatus | None = None
    channel: ChannelName | None = None
    booking_id: str | None = None
    recipient: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    since: datetime | None = None


def find(criteria: Criteria) -> Any:
    """Return a query for the deliveries that match, newest first."""
    filters = {
        "status": criteria.status,
        "notification_type": criteria.channel,
        "booking_id__in": forms_of(criteria.booking_id) if criteria.booking_id else None,
        "event_id": criteria.event_id,
        "event_type": criteria.event_type,
        "created_at__gte": criteria.since,
    }
    given = {name: value for name, value in filters.items() if value is not None}
    if criteria.recipient is None:
        return Notification.objects(**given).order_by("-created_at", "-id")
    to_recipient = Notification.objects(__raw__=recipient_filter(criteria.recipient), **given)
    return to_recipient.collation(CASE_INSENSITIVE).order_by("-created_at", "-id")


def by_ids(ids: Collection[str]) -> dict[str, Notification]:
    """Return the deliveries that exist, by id."""
    return {name: Notification.from_document(found) for name, found in documents_by_ids(ids).items()}


def documents_by_ids(ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the documents of the deliveries that exist, by id, as MongoDB stores them."""
    # The id in a dead letter may be any value.
    valid = [ObjectId(found) for found in ids if ObjectId.is_valid(found)]
    found = Notification.select({"_id": {"$in": valid}}) if valid else ()
    return {str(each["_id"]): each for each in found}


def requeue(notification: Notification, note: str, *, past_suppression: bool = False) -> bool:
    """Reopen a finished delivery, and reset its retries. Its record names the operator.

    Args:
        notification: the record as read. If its status has changed since, nothing happens.
        note: the operator's action.
        past_suppression: send once although the recipient is suppressed.

    Returns:
        Whether the delivery was reopened. The caller must enqueue it; otherwise the sweep does.
    """
    now = utcnow()
    seen = Notification.objects(id=notification.id, status=notification.status)
    return bool(
        seen.update_one(
            set__status=DeliveryStatus.QUEUED,
            set__retry_count=0,
            set__abandoned=0,
            set__excused=0,
            inc__resends=1,
            set__past_suppression=past_suppression,
            set__due_at=now + GRACE,
            unset__next_attempt_at=True,
            unset__give_up_at=True,
            unset__returned_at=True,
            push__attempts=Attempt(at=now, outcome=DeliveryStatus.QUEUED, detail=f"by an operator: {note}"),
        )
    )


def erase(notification: Notification) -> bool:
    """Erase the personal data of a delivery. An unfinished delivery is skipped.

    Args:
        notification: the record as read. If its status has changed since, nothing happens.

    Returns:
        Whether it was erased; False while it is being sent.
    """
    if notification.status == DeliveryStatus.SENDING:
        return False
    finished = notification.status in FINISHED
    attempts = [
        {**attempt.to_mongo(), "detail": redacted_reply(attempt.detail)} for attempt in notification.attempts
    ]
    reason = redacted_reply(notification.error_message) if finished else ERASED
    changes = {
        "status": notification.status if finished else DeliveryStatus.SKIPPED,
        "event_data": redacted(notification.event_data),
        "attempts": attempts,
        "error_message": reason,
    }
    unset = dict.fromkeys(
        ("recipient", "subject", "next_attempt_at", "due_at", "give_up_at", "upcoming_showtime"), True
    )
    seen = {"_id": notification.id, "status": notification.status}
    return Notification.compare_and_set(seen, {"$set": changes, "$unset": unset})


def resend(
    notification_id: str,
    dispatch: Callable[[Notification], None],
    operator: Operator,
    *,
    again: bool = False,
    past_suppression: bool = False,
) -> str | None:
    """Queue a delivery again, with the same Message-ID.

    Args:
        notification_id: id of its document.
        dispatch: queues it.
        operator: who resends it, for the audit log.
        again: resend although the recipient probably has it.
        past_suppression: send once although the recipient is suppressed.

    Returns:
        The reason if it was not queued, else None.

    Raises:
        ServiceUnavailable: the broker is unavailable; the sweep will enqueue it.
    """
    notification = by_ids([notification_id]).get(notification_id)
    if notification is None:
        return "no notification has this id"
    if notification.recipient is None:
        return "the notification has no recipient"
    if notification.status in _NOT_RESENT and not (again and notification.status in ARRIVED):
        return _NOT_RESENT[notification.status]
    details = {
        "event": notification.event_id,
        "was": notification.status,
        "again": again,
        "past_suppression": past_suppression,
    }
    record_action(operator, "notifications.resend", notification_id, details)
    if not requeue(notification, f"resent, was {notification.status}", past_suppression=past_suppression):
        return "the notification has just changed; check its status"
    try:
        dispatch(notification)
    except (BrokerConnectionError, redis.RedisError) as error:
        raise ServiceUnavailable(
            f"The broker is unavailable ({type(error).__name__}). A worker will queue the notification "
            f"{notification_id} when the broker is available again."
        ) from error
    return None

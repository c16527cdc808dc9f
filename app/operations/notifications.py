"""Find recorded deliveries, and send them again."""

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
from app.delivery_status import DeliveryStatus
from app.errors import ServiceUnavailable
from app.models import GRACE, Attempt, Notification

#: Status → why a delivery of that status is not sent again. Of any other it is.
_NOT_RESENT = {
    DeliveryStatus.SENDING: "it is being sent right now",
    DeliveryStatus.SENT: "it was sent; with --force it goes out a second time",
}


@dataclass(frozen=True)
class Criteria:
    """Which deliveries to find. A field that is None matches all.

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
    wanted = {
        "status": criteria.status,
        "notification_type": criteria.channel,
        "booking_id": criteria.booking_id,
        "recipient": criteria.recipient,
        "event_id": criteria.event_id,
        "event_type": criteria.event_type,
        "created_at__gte": criteria.since,
    }
    found = Notification.objects(**{name: value for name, value in wanted.items() if value is not None})
    return found.order_by("-created_at")


def by_ids(ids: Collection[str]) -> dict[str, Notification]:
    """Return the deliveries that exist, by id."""
    # What stands in a message's place for an id may be anything.
    valid = [found for found in ids if ObjectId.is_valid(found)]
    return {str(found.id): found for found in Notification.objects(id__in=valid)} if valid else {}


def requeue(notification: Notification, note: str) -> bool:
    """Reopen a finished delivery, with its retries reset. Its record notes that an operator did it.

    Args:
        notification: as it was read; if its status has changed since, nothing happens.
        note: what the person did.

    Returns:
        Whether it happened. Its message is still to be queued; if it is not, the sweep does it.
    """
    now = utcnow()
    seen = Notification.objects(id=notification.id, status=notification.status)
    return bool(
        seen.update_one(
            set__status=DeliveryStatus.QUEUED,
            set__retry_count=0,
            set__abandoned=0,
            set__due_at=now + GRACE,
            unset__next_attempt_at=True,
            unset__give_up_at=True,
            push__attempts=Attempt(at=now, outcome=DeliveryStatus.QUEUED, detail=f"by an operator: {note}"),
        )
    )


def resend(notification_id: str, dispatch: Callable[[Notification], None], *, force: bool) -> str | None:
    """Queue a delivery again, with the same Message-ID.

    Args:
        notification_id: its document's.
        dispatch: queues it.
        force: also if it was sent.

    Returns:
        Why not; None if it was queued.

    Raises:
        ServiceUnavailable: the broker does not take it; the sweep will hand it over.
    """
    notification = by_ids([notification_id]).get(notification_id)
    if notification is None:
        return "there is no such notification"
    if notification.recipient is None:
        return "it has no recipient"
    if notification.status in _NOT_RESENT and not (force and notification.status == DeliveryStatus.SENT):
        return _NOT_RESENT[notification.status]
    if not requeue(notification, f"resent, was {notification.status}"):
        return "it has just changed; look again"
    try:
        dispatch(notification)
    except (BrokerConnectionError, redis.RedisError) as error:
        raise ServiceUnavailable(
            f"{notification_id} is to be sent again, but the broker does not answer "
            f"({type(error).__name__}); a worker will queue it once it does."
        ) from error
    return None

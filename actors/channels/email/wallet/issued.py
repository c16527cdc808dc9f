"""Find the passes of earlier mails, which a later mail has to replace or void."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actors.errors import Postponed
from app.channels import ChannelName
from app.delivery_status import DeliveryStatus
from app.errors import ServiceUnavailable
from app.models import Notification, storage_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Statuses of mails that were received, or may have been.
_RECEIVED_STATUSES = (DeliveryStatus.SENT, DeliveryStatus.UNCERTAIN)


def last_received_event(notification: Notification) -> Mapping[str, Any] | None:
    """Return the event of the booking's last mail with passes, or None.

    Raises:
        Postponed: the database is unavailable.
    """
    if not notification.booking_id:
        return None
    query = {
        "booking_id": notification.booking_id,
        "notification_type": ChannelName.EMAIL,
        "event_type": {"$in": ["booking.confirmed", "booking.updated"]},
        "event_id": {"$ne": notification.event_id},
        "status": {"$in": list(_RECEIVED_STATUSES)},
    }
    try:
        with storage_errors():
            mails = list(Notification.find(query, "event_data", "created_at", "sent_at"))
    except ServiceUnavailable as error:
        raise Postponed(str(error)) from error
    if not mails:
        return None
    last = max(mails, key=lambda each: each.get("sent_at") or each["created_at"])
    event: Mapping[str, Any] = last["event_data"]
    return event

"""The life of one delivery: queued → sending → sent, or retrying, failed, skipped, uncertain.

Every change is a compare-and-set on its document, so that a message that comes twice, or to two workers,
sends once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mongoengine.errors import NotUniqueError

from app.clock import utcnow
from app.events.schemas import InvalidEvent
from app.models import Attempt, Notification

#: Longer than any sending takes: a delivery that is `sending` after it belongs to a worker that died.
LEASE = timedelta(minutes=3)

_CLAIMABLE = ("queued", "retrying")


@dataclass(frozen=True)
class Busy:
    """Another worker holds the delivery until `until`."""

    until: datetime


def record(event: dict[str, Any], channel: str, template: str, recipient: str | None) -> Notification:
    """The delivery of `event` over `channel`: a new one, or the one that an earlier copy of it made.

    Raises:
        InvalidEvent: it can't be stored.
    """
    notification = Notification(
        event_id=event["event_id"],
        event_type=event["event_type"],
        booking_id=event.get("booking_id"),
        notification_type=channel,
        status="queued" if recipient else "skipped",
        error_message=None if recipient else "the event names no recipient",
        recipient=recipient,
        template=template,
        event_data=event,
        created_at=utcnow(),
    )
    try:
        notification.save(force_insert=True)
    except OverflowError:
        raise InvalidEvent("a number in it has more than 64 bits") from None
    except NotUniqueError:
        notification = Notification.objects.get(event_id=event["event_id"], notification_type=channel)
    return notification


def claim(notification_id: str) -> Notification | Busy | None:
    """Take a delivery to send it.

    Returns:
        The delivery, ours until its lease ends; `Busy` while another worker has it; None if it is finished
        or was never recorded.
    """
    now = utcnow()
    lease = {"set__status": "sending", "set__lease_until": now + LEASE}
    mine = Notification.objects(id=notification_id)
    if not (
        mine.filter(status__in=_CLAIMABLE).update_one(**lease)
        or mine.filter(status="sending", lease_until__lt=now).update_one(**lease)
    ):
        other = mine.filter(status="sending").first()
        return Busy(other.lease_until) if other else None
    notification: Notification = mine.get()
    return notification


def finish(notification: Notification, status: str, detail: str = "", **fields: Any) -> None:
    """Record how the try in hand ended.

    Args:
        notification: claimed before.
        status: sent, retrying, failed, skipped or uncertain.
        detail: the server's reply, or what was wrong.
        fields: further fields to store.
    """
    changes = {f"set__{name}": value for name, value in fields.items()}
    if status == "sent":
        changes |= {"set__sent_at": utcnow(), "unset__error_message": True}
    else:
        changes["set__error_message"] = detail
    Notification.objects(id=notification.id, status="sending").update_one(
        set__status=status,
        unset__lease_until=True,
        push__attempts=Attempt(at=utcnow(), outcome=status, detail=detail),
        **changes,
    )

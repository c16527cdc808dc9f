"""The lifecycle of a delivery: queued → sending → sent, or retrying, failed, skipped, uncertain.

Every change is a compare-and-set on its document, so that a message that comes twice, or to two workers,
sends once. An unfinished delivery has a `due_at`; past it, its message or its worker counts as lost, and the
sweep queues it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from bson.errors import BSONError
from mongoengine.errors import NotUniqueError

from actors.outcome import log_outcome
from app.canonical_json import canonical
from app.channels import ChannelName
from app.clock import utcnow
from app.delivery_status import FINISHED, GIVEN_UP, DeliveryStatus
from app.events.decode import InvalidEvent
from app.models import GRACE, Attempt, Notification
from app.telemetry import tracing

#: Deliveries queued again by one sweep.
_BATCH_SIZE = 500


class ConflictingEvent(InvalidEvent):
    """An event_id arrived again with another content. An operator has to decide which of the two is right."""


@dataclass(frozen=True)
class Busy:
    """The delivery may not be tried before `until`: a worker holds it, or its retry is not due."""

    until: datetime


def record(
    event: dict[str, Any],
    channel: ChannelName,
    template: str,
    recipient: str | None,
    lease: timedelta | None = None,
    message_id: str | None = None,
) -> tuple[Notification, bool]:
    """Record the delivery of `event` over `channel`, or find the one that an earlier copy of the event made.

    Args:
        event: checked.
        channel: its channel.
        template: of the message.
        recipient: None if the event names none: the delivery is skipped.
        message_id: what its recipient will know it by, where that is known before sending.
        lease: given, a new delivery is the caller's at once, as if claimed; else it waits in its queue.

    Returns:
        The delivery, and whether it is new.

    Raises:
        ConflictingEvent: the earlier one was no copy.
        InvalidEvent: it can't be stored.
    """
    now = utcnow()
    notification = Notification(
        event_id=event["event_id"],
        event_type=event["event_type"],
        booking_id=event.get("booking_id"),
        notification_type=channel,
        status=_first_status(recipient, lease),
        error_message=None if recipient else "the event names no recipient",
        recipient=recipient,
        template=template,
        message_id=message_id,
        event_data=event,
        traceparent=tracing.traceparent(),
        created_at=now,
        due_at=now + (lease or GRACE) if recipient else None,
    )
    try:
        notification.insert()
    except OverflowError:
        raise InvalidEvent("a number in it has more than 64 bits") from None
    except (UnicodeEncodeError, BSONError) as error:
        raise InvalidEvent(f"it can't be stored: {error!s:.200}") from None
    except NotUniqueError:
        notification = Notification.objects.get(event_id=event["event_id"], notification_type=channel)
        _compare(notification.event_data, event)
        return notification, False
    if not recipient:
        log_outcome(notification, DeliveryStatus.SKIPPED, notification.error_message)
    return notification, True


def _first_status(recipient: str | None, lease: timedelta | None) -> DeliveryStatus:
    if not recipient:
        return DeliveryStatus.SKIPPED
    return DeliveryStatus.SENDING if lease else DeliveryStatus.QUEUED


def _compare(known: dict[str, Any], event: dict[str, Any]) -> None:
    if canonical(known) == canonical(event):
        return
    fields = known.keys() | event.keys()
    differing = sorted(name for name in fields if canonical(known.get(name)) != canonical(event.get(name)))
    raise ConflictingEvent(f"its event_id is known with other values of {', '.join(differing)[:300]}")


def claim(notification_id: str, lease: timedelta) -> Notification | Busy | None:
    """Claim a delivery in order to send it.

    Args:
        notification_id: its document's.
        lease: longer than sending can take; who is silent for longer is taken for dead.

    Returns:
        The delivery, ours until its lease ends; `Busy` while it may not be tried; None if it is finished or
        there is no such record.
    """
    now = utcnow()
    mine = {"_id": ObjectId(notification_id)}
    sending: dict[str, Any] = {"$set": {"status": DeliveryStatus.SENDING, "due_at": now + lease}}
    abandoned = {"$inc": {"abandoned": 1}}
    taken = (
        Notification.compare_and_set({**mine, "status": DeliveryStatus.QUEUED}, sending)
        or Notification.compare_and_set(
            {**mine, "status": DeliveryStatus.RETRYING, "next_attempt_at": {"$lte": now}}, sending
        )
        or Notification.compare_and_set(
            {**mine, "status": DeliveryStatus.SENDING, "due_at": {"$lt": now}}, sending | abandoned
        )
    )
    notification = Notification.find_one(mine)
    if notification is None or taken:
        return notification
    match notification.status:
        case DeliveryStatus.SENDING:
            return Busy(notification.due_at)
        case DeliveryStatus.RETRYING:
            return Busy(notification.next_attempt_at)
        case DeliveryStatus.QUEUED:
            return Busy(now)  # between our writes and our look
    return None


def is_given_up(notification_id: str) -> bool:
    """Whether a delivery has failed for good, or its outcome is uncertain."""
    given_up = Notification.objects(id=notification_id, status__in=GIVEN_UP)
    return given_up.first() is not None


def sent(notification: Notification, sent_at: datetime, **fields: Any) -> None:
    """Record that the delivery was accepted. Needs no lease: it is true whoever holds the delivery.

    Args:
        notification: claimed before.
        sent_at: when it was accepted.
        fields: further fields to store.
    """
    Notification.compare_and_set(
        {"_id": notification.id, "status": {"$ne": DeliveryStatus.SENT}},
        {
            "$set": {"status": DeliveryStatus.SENT, "sent_at": sent_at, **fields},
            "$unset": {"error_message": True, "due_at": True},
            "$push": {"attempts": Attempt(at=utcnow(), outcome=DeliveryStatus.SENT, detail="").to_mongo()},
        },
    )


def retry(
    notification: Notification,
    after: timedelta,
    detail: str,
    *,
    counted: bool,
    give_up_at: datetime | None = None,
) -> None:
    """Record that the delivery is to be tried again.

    Args:
        notification: claimed before.
        after: when.
        detail: the server's reply, or what was wrong.
        counted: whether this was one of its tries.
        give_up_at: when it fails if the trouble lasts.
    """
    now = utcnow()
    changes: dict[str, Any] = {"set__next_attempt_at": now + after, "set__due_at": now + after + GRACE}
    if give_up_at:
        changes["set__give_up_at"] = give_up_at
    if counted:
        changes["inc__retry_count"] = 1
        changes["push__attempts"] = Attempt(at=now, outcome=DeliveryStatus.RETRYING, detail=detail)
    _ours(notification).update_one(set__status=DeliveryStatus.RETRYING, set__error_message=detail, **changes)


def end(notification: Notification, status: DeliveryStatus, detail: str) -> None:
    """Record that the delivery ended without being accepted.

    Args:
        notification: claimed before.
        status: failed, skipped or uncertain.
        detail: the server's reply, or what was wrong.
    """
    _ours(notification).update_one(
        set__status=status,
        set__error_message=detail,
        unset__due_at=True,
        push__attempts=Attempt(at=utcnow(), outcome=status, detail=detail),
    )


def give_back(notification: Notification) -> None:
    """Give back a delivery that another worker abandoned: due at once, and not counted as abandoned again.

    Its status stays: who takes it next has to find out whether it was accepted.
    """
    _ours(notification).update_one(set__due_at=utcnow(), inc__abandoned=-1)


def _ours(notification: Notification) -> Any:
    """Query for the delivery while this worker's lease is still the current one."""
    return Notification.objects(id=notification.id, status=DeliveryStatus.SENDING, due_at=notification.due_at)


def requeue_overdue(enqueue: Callable[[Notification], None]) -> int:
    """Queue overdue deliveries again: their messages were lost, or their workers died.

    Each waits as long again as it has waited before, so that a long queue grows by a few repeated messages
    and not by ever more.

    Returns:
        How many.
    """
    now = utcnow()
    overdue = Notification.objects(due_at__lt=now).order_by("due_at").limit(_BATCH_SIZE)
    count = 0
    fields = ("id", "status", "notification_type", "traceparent", "due_at", "created_at")
    for delivery in overdue.only(*fields):
        changes: dict[str, Any] = {"set__due_at": now + max(GRACE, now - delivery.created_at)}
        if delivery.status == DeliveryStatus.SENDING:
            changes |= {"set__status": DeliveryStatus.QUEUED, "inc__abandoned": 1}
        seen = Notification.objects(id=delivery.id, status=delivery.status, due_at=delivery.due_at)
        if seen.update_one(**changes):  # of several sweeps only one
            try:
                enqueue(delivery)
            except Exception:
                Notification.objects(id=delivery.id).update_one(set__due_at=delivery.due_at)
                raise
            count += 1
    return count


def forget(older_than: timedelta) -> int:
    """Delete finished deliveries, oldest first, a batch at a time.

    Returns:
        How many; 0 when there are no more.
    """
    old = Notification.objects(status__in=FINISHED, created_at__lt=utcnow() - older_than)
    ids = [delivery.id for delivery in old.order_by("created_at").only("id").limit(_BATCH_SIZE)]
    return int(Notification.objects(id__in=ids).delete()) if ids else 0

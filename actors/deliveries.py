"""The lifecycle of a delivery: queued → sending → sent, or retrying, failed, skipped, uncertain.

`app.feedback.records` writes later statuses.

Every change is a compare-and-set on its document, so that a message that arrives twice, or at two workers,
sends once. An unfinished delivery has a `due_at`. After that time its message or worker counts as lost, and
the sweep queues it again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from bson.errors import BSONError
from mongoengine.errors import NotUniqueError
from pymongo.errors import WriteConcernError

from app.canonical_json import canonical
from app.channels import ChannelName
from app.clock import utcnow
from app.delivery_status import ACCEPTED, FINISHED, GIVEN_UP, DeliveryStatus
from app.events.decode import InvalidEvent
from app.feedback.outcome import log_outcome
from app.models import GRACE, Attempt, Notification
from app.telemetry import tracing

#: Maximum number of deliveries that one sweep queues again.
_BATCH_SIZE = 500

#: How long one sweep keeps a delivery from the others while it queues the message. If that takes longer,
#: another sweep may queue a second message.
_CLAIM = timedelta(seconds=30)


class ConflictingEvent(InvalidEvent):
    """An event_id arrived again with different content. An operator has to decide which is correct."""


@dataclass(frozen=True)
class Busy:
    """The delivery may not be attempted before `until`: a worker holds it, or its retry is not due."""

    until: datetime


def record(
    event: dict[str, Any],
    channel: ChannelName,
    template: str,
    recipient: str | None,
    lease: timedelta | None = None,
    message_id: str | None = None,
    upcoming_showtime: datetime | None = None,
) -> tuple[Notification, bool]:
    """Record the delivery of `event` over `channel`, or find that of an earlier copy of the event.

    Args:
        event: a valid event.
        channel: the delivery's channel.
        template: the message's template.
        recipient: None if the event has none; the delivery is then skipped.
        message_id: the recipient's id of the message, if it is known before sending.
        lease: claims a new delivery for the caller; None to queue it.
        upcoming_showtime: start of the show, if this record leads to its reminder.

    Returns:
        The delivery, and whether it is new.

    Raises:
        ConflictingEvent: the earlier event has different content.
        InvalidEvent: the event can't be stored.
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
        upcoming_showtime=upcoming_showtime,
    )
    try:
        notification.insert()
    except OverflowError:
        raise InvalidEvent("a number in the event has more than 64 bits") from None
    except (UnicodeEncodeError, BSONError) as error:
        raise InvalidEvent(f"the delivery can't be stored: {error!s:.200}") from None
    except NotUniqueError:
        notification = Notification.objects.get(event_id=event["event_id"], notification_type=channel)
        _compare(notification.event_data, event)
        return notification, False
    if not recipient:
        log_outcome(notification, DeliveryStatus.SKIPPED, notification.error_message)
    return notification, True


def check_repeated(event: dict[str, Any]) -> None:
    """Check that earlier deliveries with the event's id are of the same event.

    Raises:
        ConflictingEvent: the earlier event has different content.
    """
    for known in Notification.objects(event_id=event["event_id"]):
        _compare(known.event_data, event)


def _first_status(recipient: str | None, lease: timedelta | None) -> DeliveryStatus:
    if not recipient:
        return DeliveryStatus.SKIPPED
    return DeliveryStatus.SENDING if lease else DeliveryStatus.QUEUED


def _compare(known: dict[str, Any], event: dict[str, Any]) -> None:
    if canonical(known) == canonical(event):
        return
    fields = known.keys() | event.keys()
    differing = sorted(name for name in fields if canonical(known.get(name)) != canonical(event.get(name)))
    raise ConflictingEvent(
        f"an earlier event with this event_id has different values for {', '.join(differing)[:300]}"
    )


def claim(notification_id: str, until: datetime) -> Notification | Busy | None:
    """Claim a delivery in order to send it.

    Args:
        notification_id: id of its document.
        until: end of the lease, later than sending can take; afterwards, the worker counts as dead.

    Returns:
        The delivery, claimed until its lease ends; `Busy` while it may not be attempted; None if it is
        finished or does not exist.
    """
    now = utcnow()
    query = {"_id": ObjectId(notification_id)}
    sending: dict[str, Any] = {"$set": {"status": DeliveryStatus.SENDING, "due_at": until}}
    abandoned = {"$inc": {"abandoned": 1}}
    taken = (
        Notification.compare_and_set({**query, "status": DeliveryStatus.QUEUED}, sending)
        or Notification.compare_and_set(
            {**query, "status": DeliveryStatus.RETRYING, "next_attempt_at": {"$lte": now}}, sending
        )
        or Notification.compare_and_set(
            {**query, "status": DeliveryStatus.SENDING, "due_at": {"$lt": now}}, sending | abandoned
        )
    )
    notification = Notification.find_one(query)
    if notification is None or taken:
        return notification
    match notification.status:
        case DeliveryStatus.SENDING:
            return Busy(notification.due_at)
        case DeliveryStatus.RETRYING:
            return Busy(notification.next_attempt_at)
        case DeliveryStatus.QUEUED:
            return Busy(now)  # changed between the write and this read
    return None


def is_given_up(notification_id: str) -> bool:
    """Return whether a delivery has failed permanently, or its outcome is uncertain."""
    given_up = Notification.objects(id=notification_id, status__in=GIVEN_UP)
    return given_up.first() is not None


def sent(notification: Notification, sent_at: datetime, **fields: Any) -> None:
    """Record that the delivery was accepted. Needs no lease, because it is true whoever holds it.

    Args:
        notification: a claimed delivery.
        sent_at: when it was accepted.
        fields: further fields to store.
    """
    recorded = Notification.compare_and_set(
        {"_id": notification.id, "status": {"$nin": list(ACCEPTED)}},
        {
            "$set": {"status": DeliveryStatus.SENT, "sent_at": sent_at, **fields},
            "$unset": {"error_message": True, "due_at": True},
            "$push": {"attempts": Attempt(at=utcnow(), outcome=DeliveryStatus.SENT, detail="").to_mongo()},
        },
    )
    if not recorded:
        # A bounce or a receipt arrived first, and its status is kept.
        Notification.compare_and_set({"_id": notification.id}, {"$set": {"sent_at": sent_at, **fields}})


def retry(
    notification: Notification,
    after: timedelta,
    detail: str,
    *,
    counted: bool,
    give_up_at: datetime | None = None,
) -> None:
    """Record that the delivery will be retried.

    Args:
        notification: a claimed delivery.
        after: time of the retry.
        detail: the server's reply, or the error.
        counted: whether this attempt counts.
        give_up_at: when it fails if the problem persists.
    """
    now = utcnow()
    changes: dict[str, Any] = {
        "status": DeliveryStatus.RETRYING,
        "error_message": detail,
        "next_attempt_at": now + after,
        "due_at": now + after + GRACE,
    }
    if give_up_at:
        changes["give_up_at"] = give_up_at
    update: dict[str, Any] = {"$set": changes}
    if counted:
        attempt = Attempt(at=now, outcome=DeliveryStatus.RETRYING, detail=detail)
        update |= {"$inc": {"retry_count": 1}, "$push": {"attempts": attempt.to_mongo()}}
    Notification.compare_and_set(_leased(notification.id, notification.due_at), update)


def end(notification: Notification, status: DeliveryStatus, detail: str, note: str | None = None) -> None:
    """Record that the delivery ended without being accepted.

    Args:
        notification: a claimed delivery.
        status: failed, skipped or uncertain.
        detail: the server's reply, or the error.
        note: text for its list of attempts; None for `detail`.
    """
    attempt = Attempt(at=utcnow(), outcome=status, detail=note or detail)
    Notification.compare_and_set(
        _leased(notification.id, notification.due_at),
        {
            "$set": {"status": status, "error_message": detail},
            "$unset": {"due_at": True},
            "$push": {"attempts": attempt.to_mongo()},
        },
    )


def give_back(notification: Notification) -> None:
    """Release a delivery whose outcome an outage kept this worker from recording. It is due immediately.

    The next worker counts it as abandoned, because it has to find out whether it was accepted. This excuses
    it, also if its lease has ended and it is counted already.
    """
    if not release(notification.id, notification.due_at):
        with suppress(WriteConcernError):  # see `release`
            Notification.compare_and_set({"_id": notification.id}, {"$inc": {"excused": 1}})


def release(notification_id: ObjectId, until: datetime) -> bool:
    """Give back the delivery that was claimed until then. Does nothing if the claim was not carried out.

    Returns:
        False if this claim does not hold the delivery.
    """
    try:
        return Notification.compare_and_set(
            _leased(notification_id, until), {"$set": {"due_at": utcnow()}, "$inc": {"excused": 1}}
        )
    except WriteConcernError:
        # MongoDB has carried out the write, and only a majority lacks it. A repetition would excuse twice.
        return True


def _leased(notification_id: ObjectId, until: datetime) -> dict[str, Any]:
    """Return a filter for the delivery that matches while the lease that ends then is current."""
    return {"_id": notification_id, "status": DeliveryStatus.SENDING, "due_at": until}


def requeue_overdue(enqueue: Callable[[Notification], None]) -> int:
    """Queue overdue deliveries again: their messages were lost, or their workers died.

    The wait doubles each time, so that a long queue gets only a few duplicate messages. It is set after the
    message is queued: if this process dies before, another sweep finds the delivery after `_CLAIM`.

    Returns:
        The number of deliveries.
    """
    now = utcnow()
    overdue = Notification.objects(due_at__lt=now).order_by("due_at").limit(_BATCH_SIZE)
    count = 0
    fields = ("id", "status", "notification_type", "traceparent", "due_at", "created_at")
    for delivery in overdue.only(*fields):
        until = utcnow() + _CLAIM
        update: dict[str, Any] = {"$set": {"due_at": until}}
        if delivery.status == DeliveryStatus.SENDING:
            update = {"$set": {"due_at": until, "status": DeliveryStatus.QUEUED}, "$inc": {"abandoned": 1}}
        seen = {"_id": delivery.id, "status": delivery.status, "due_at": delivery.due_at}
        if Notification.compare_and_set(seen, update):  # only one of several sweeps succeeds
            # A worker may take it as soon as it is queued.
            claim = {"_id": delivery.id, "due_at": until}
            try:
                enqueue(delivery)
            except Exception:
                Notification.compare_and_set(claim, {"$set": {"due_at": delivery.due_at}})
                raise
            due_at = now + max(GRACE, now - delivery.created_at)
            Notification.compare_and_set(claim, {"$set": {"due_at": due_at}})
            count += 1
    return count


def with_showtime_until(until: datetime) -> list[Notification]:
    """Return deliveries of shows that begin by then and whose reminder is pending, earliest show first.

    At most one batch. The sparse index contains only these deliveries.
    """
    upcoming = Notification.objects(upcoming_showtime__lte=until).order_by("upcoming_showtime")
    return list(upcoming.limit(_BATCH_SIZE))


def forget_showtime(notification_id: ObjectId, showtime: datetime) -> None:
    """Record that the reminder of a delivery's show is handled."""
    Notification.compare_and_set(
        {"_id": notification_id, "upcoming_showtime": showtime}, {"$unset": {"upcoming_showtime": True}}
    )


def forget(older_than: timedelta) -> int:
    """Delete finished deliveries, oldest first, a batch at a time. One whose show is ahead is kept.

    Returns:
        The number of deleted deliveries; 0 at the end.
    """
    now = utcnow()
    old = Notification.objects(
        status__in=FINISHED,
        created_at__lt=now - older_than,
        __raw__={"upcoming_showtime": {"$not": {"$gt": now}}},
    )
    ids = [delivery.id for delivery in old.order_by("created_at").only("id").limit(_BATCH_SIZE)]
    return int(Notification.objects(id__in=ids).delete()) if ids else 0

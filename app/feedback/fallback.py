"""Send a booking's message by SMS if its mail can't arrive."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from mongoengine.errors import NotUniqueError

from app.channels import CHANNELS, ChannelName
from app.delivery_status import DeliveryStatus
from app.models import Attempt, Notification
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.settings import Settings

log = get_logger(__name__)

_INSTEAD = "in place of a mail that can't arrive"


def send_sms_instead(mail: Notification, settings: Settings, now: datetime) -> bool:
    """Queue an SMS for the event of `mail`, unless the event already has one.

    An event has at most one SMS. A sent or waiting SMS informs the customer, and a refused one is not
    retried. So this function queues an SMS only in two cases: the event has no phone but an earlier message
    about the booking does, or SMS was disabled when the event arrived.

    Args:
        mail: a delivery over email that bounced or is suppressed.
        settings: the process's settings.
        now: the current time.

    Returns:
        Whether an SMS was queued. A worker's sweep sends it within seconds.
    """
    about_booking = mail.event_type.startswith("booking.")
    if not (mail.notification_type == ChannelName.EMAIL and about_booking and mail.booking_id):
        return False
    if not CHANNELS[ChannelName.SMS].enabled(settings):
        return False
    phone = _phone_of(mail)
    if phone is None or not (_reopen(mail, phone, now) or _insert(mail, phone, now)):
        return False
    log.info("sms queued instead of an email", event_id=mail.event_id, booking_id=mail.booking_id)
    return True


def _phone_of(mail: Notification) -> str | None:
    """Return the event's phone, or that of the user's newest message about the booking."""
    field = CHANNELS[ChannelName.SMS].recipient_field
    if phone := mail.event_data.get(field):
        return str(phone)
    same = {
        "booking_id": mail.booking_id,
        "event_data.user_id": mail.event_data.get("user_id"),
        f"event_data.{field}": {"$exists": True},
    }
    found = Notification.objects(__raw__=same).order_by("-created_at").only("event_data").first()
    return str(found.event_data[field]) if found and found.event_data[field] else None


def _reopen(mail: Notification, phone: str, now: datetime) -> bool:
    """Queue the event's SMS if it was skipped for lack of a phone."""
    skipped = {
        "event_id": mail.event_id,
        "notification_type": ChannelName.SMS,
        "status": DeliveryStatus.SKIPPED,
        "recipient": None,
    }
    attempt = Attempt(at=now, outcome=DeliveryStatus.QUEUED, detail=_INSTEAD).to_mongo()
    queued: dict[str, Any] = {
        "status": DeliveryStatus.QUEUED,
        "recipient": phone,
        "due_at": now,
        "stands_in": True,
    }
    return Notification.compare_and_set(
        skipped, {"$set": queued, "$unset": {"error_message": True}, "$push": {"attempts": attempt}}
    )


def _insert(mail: Notification, phone: str, now: datetime) -> bool:
    """Queue the event's SMS if none was recorded."""
    sms = Notification(
        event_id=mail.event_id,
        event_type=mail.event_type,
        booking_id=mail.booking_id,
        notification_type=ChannelName.SMS,
        status=DeliveryStatus.QUEUED,
        recipient=phone,
        template=mail.template,
        event_data=mail.event_data,
        traceparent=mail.traceparent,
        created_at=now,
        due_at=now,
        stands_in=True,
        attempts=[Attempt(at=now, outcome=DeliveryStatus.QUEUED, detail=_INSTEAD)],
    )
    try:
        sms.insert()
    except NotUniqueError:
        return False
    return True

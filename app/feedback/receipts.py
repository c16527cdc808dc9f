"""Handle SMS receipts (Twilio's status callbacks), which may arrive late, twice, and out of order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from bson import ObjectId

from app.channels import ChannelName
from app.delivery_status import RETURNED, DeliveryStatus
from app.feedback import records
from app.feedback.sms_errors import LASTING, UNSUBSCRIBED, meaning
from app.models import Notification, storage_errors, storage_writes
from app.suppressions import SuppressionReason, make_suppressions

if TYPE_CHECKING:
    from app.settings import Settings

#: Twilio's status of a message → ours. https://www.twilio.com/docs/messaging/api/message-resource
STATUSES = {
    "accepted": DeliveryStatus.SENT,
    "scheduled": DeliveryStatus.SENT,
    "queued": DeliveryStatus.SENT,
    "sending": DeliveryStatus.SENT,
    "sent": DeliveryStatus.SENT,
    "delivered": DeliveryStatus.DELIVERED,
    "read": DeliveryStatus.DELIVERED,
    "undelivered": DeliveryStatus.UNDELIVERED,
    "failed": DeliveryStatus.UNDELIVERED,
    "canceled": DeliveryStatus.UNDELIVERED,
}

_SOURCE = "sms receipt"


@dataclass(frozen=True)
class Receipt:
    """A receipt for one SMS.

    Attributes:
        message_id: Twilio's id of the message, `SM…`.
        status: Twilio's message status.
        error_code: Twilio's error code, or None.
        delivery: the delivery's id from the callback URL, or None.
        resend: how often the delivery had been resent when the message was sent.
    """

    message_id: str
    status: str
    error_code: int | None = None
    delivery: str | None = None
    resend: int = 0


def handle_receipt(receipt: Receipt, settings: Settings, now: datetime) -> bool:
    """Record a receipt, and apply the suppression rules to a message that was not delivered.

    A receipt for an uncertain delivery settles it. Safe to repeat.

    Returns:
        Whether it changed the delivery.

    Raises:
        ServiceUnavailable: MongoDB is unavailable.
    """
    status = STATUSES.get(receipt.status)
    sms = _find(receipt) if status else None
    if status is None or sms is None:
        return False
    write = records.returned if status in RETURNED else records.arrived
    detail = meaning(receipt.error_code) if status in RETURNED else f"Twilio: {receipt.status}"
    with storage_writes():
        changed = write(sms, status, detail, now)
        # The id of the message in Twilio's log is unknown if the response was lost.
        Notification.compare_and_set(
            {"_id": sms.id, "message_id": None}, {"$set": {"message_id": receipt.message_id}}
        )
    if status in RETURNED:
        _suppress(sms, receipt.error_code, settings, now)
    return changed


def _find(receipt: Receipt) -> Notification | None:
    """Return the delivery of a receipt; None if it is unknown, or was resent since."""
    by_id = receipt.delivery is not None and ObjectId.is_valid(receipt.delivery)
    named = {"_id": ObjectId(receipt.delivery)} if by_id else {"message_id": receipt.message_id}
    with storage_errors():
        sms = Notification.find_one({**named, "notification_type": ChannelName.SMS})
    if sms is None or (by_id and (sms.resends or 0) != receipt.resend):
        return None
    return sms


def _suppress(sms: Notification, code: int | None, settings: Settings, now: datetime) -> None:
    suppressions = make_suppressions(settings)
    reason = SuppressionReason.STOP if code == UNSUBSCRIBED else SuppressionReason.HARD_BOUNCE
    if code not in LASTING:
        suppressions.note_other_bounce(ChannelName.SMS, now)
    if code == UNSUBSCRIBED or code in LASTING:
        suppressions.suppress(ChannelName.SMS, sms.recipient, reason=reason, source=_SOURCE, now=now)

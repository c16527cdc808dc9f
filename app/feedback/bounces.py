"""Act on a bounce that was matched to one of our mails."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from app.channels import ChannelName
from app.delivery_status import DeliveryStatus
from app.feedback import records
from app.feedback.fallback import send_sms_instead
from app.models import storage_writes
from app.suppressions import Result, SuppressionReason, make_suppressions

if TYPE_CHECKING:
    from app.models import Notification
    from app.settings import Settings


def handle_bounce(
    notification: Notification,
    settings: Settings,
    *,
    permanent: bool | None,
    reply: str,
    source: str,
    now: datetime,
) -> Result | None:
    """Record a bounce, apply the suppression rules, and send an SMS instead of the mail.

    Every source of bounces calls this function. It is safe to repeat after an interruption or for a copy of a
    bounce: the record changes once, a soft bounce of one mail counts once, and the
    SMS is sent once.

    Args:
        notification: the mail, found by its Message-ID, or by recipient and time. May still be `sending`.
        settings: the process's settings.
        permanent: whether it is a hard bounce. A soft bounce is final for this mail too: a notice of a delay
            is not a bounce. None if the reply says nothing about the recipient, such as a
            spam filter's: it suppresses nobody.
        reply: the server's reply, on one line.
        source: where it arrived: `bounce mailbox`, `bounce command`, or `bounce webhook`.
        now: when the bounce arrived.

    Returns:
        The effect on the recipient: `Result.PAUSED` while too many mails bounce, else None if the reply says
        nothing about it.

    Raises:
        ServiceUnavailable: MongoDB is unavailable. Handle the bounce again.
    """
    suppressions = make_suppressions(settings)
    with storage_writes():
        records.returned(notification, DeliveryStatus.BOUNCED, reply, now)
        send_sms_instead(notification, settings, now)
    if permanent is None:
        return suppressions.note_other_bounce(ChannelName.EMAIL, now)
    if permanent:
        reason = SuppressionReason.HARD_BOUNCE
        return suppressions.suppress(
            ChannelName.EMAIL, notification.recipient, reason=reason, source=source, now=now
        )
    return suppressions.note_soft_bounce(
        ChannelName.EMAIL, notification.recipient, delivery=str(notification.id), source=source, now=now
    )

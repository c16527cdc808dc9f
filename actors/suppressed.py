"""Skip messages to suppressed recipients, right before sending."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.channels import ChannelName
from app.clock import utcnow
from app.feedback.fallback import send_sms_instead
from app.suppressions import SuppressionReason, make_suppressions

if TYPE_CHECKING:
    from app.models import Notification
    from app.settings import Settings


class SuppressedRecipients:
    """The suppression list for actors.

    Args:
        settings: the process's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._suppressions = make_suppressions(settings)

    def check(self, notification: Notification) -> str | None:
        """Return why a delivery's recipient is suppressed; None if it may be sent.

        If a booking's mail is suppressed, an SMS is queued instead.

        Raises:
            ServiceUnavailable: MongoDB is unavailable.
        """
        if notification.past_suppression:
            return None
        entry = self._suppressions.find(ChannelName(notification.notification_type), notification.recipient)
        if entry is None:
            return None
        send_sms_instead(notification, self._settings, utcnow())
        return str(entry.reason)

    def unsubscribed(self, notification: Notification) -> None:
        """Suppress a recipient who has unsubscribed at the provider.

        Raises:
            ServiceUnavailable: MongoDB is unavailable.
        """
        self._suppressions.suppress(
            ChannelName(notification.notification_type),
            notification.recipient,
            reason=SuppressionReason.STOP,
            source="refused by the SMS provider",
            now=utcnow(),
        )

"""The channel SMS: an event in one line of text, written to the log (`SMS_PROVIDER=console`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.models import Notification

log = get_logger(__name__)

#: Event type → its words; fields in braces are required fields of the event.
_TEXTS = {
    "booking.confirmed": "Booking {booking_id} confirmed: {movie_title}, {showtime}.",
    "booking.cancelled": "Booking {booking_id} is cancelled.",
    "booking.refunded": "Refund of {refund_amount} {currency} for booking {booking_id} is on its way.",
    "payment.success": "Payment of {amount} {currency} for booking {booking_id} received.",
    "payment.failed": "Payment for booking {booking_id} failed. Nothing was charged.",
    "payment.refund": "Refund of {refund_amount} {currency} for booking {booking_id} is on its way.",
}


class ConsoleSmsChannel:
    """Writes texts to the log instead of sending them.

    Args:
        default_currency: shown where an event names none.
    """

    def __init__(self, default_currency: str) -> None:
        self._default_currency = default_currency

    def send(self, notification: Notification) -> Mapping[str, Any]:
        """Log one text."""
        event = {"currency": self._default_currency, **notification.event_data}
        text = _TEXTS[notification.event_type].format_map(event)
        log.info("sms", recipient=notification.recipient, text=text, event_id=notification.event_id)
        return {}

"""Report the status of a delivery: one log line, and one count in the metrics."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from app.delivery_status import DeliveryStatus
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.models import Notification

log = get_logger(__name__)

#: Status → log level. A successful delivery is logged as information, a failed one as a warning or error.
_LEVELS = {
    DeliveryStatus.SENT: logging.INFO,
    DeliveryStatus.SKIPPED: logging.INFO,
    DeliveryStatus.RETRYING: logging.WARNING,
    DeliveryStatus.FAILED: logging.WARNING,
    DeliveryStatus.UNCERTAIN: logging.WARNING,
    DeliveryStatus.DELIVERED: logging.INFO,
    DeliveryStatus.UNDELIVERED: logging.WARNING,
    DeliveryStatus.BOUNCED: logging.WARNING,
}


def count_outcome(notification: Notification, outcome: str) -> None:
    """Increment the counter of outcomes, without logging."""
    metrics.DELIVERIES.labels(notification.notification_type, notification.template or "", outcome).inc()


def log_outcome(notification: Notification, status: DeliveryStatus, detail: str | None = None) -> None:
    """Log and count a delivery's new status.

    Args:
        notification: the delivery.
        status: a status in `_LEVELS`.
        detail: the server's reply, or the reason.
    """
    count_outcome(notification, status)
    log.log(
        _LEVELS[status],
        "delivery",
        channel=notification.notification_type,
        status=status,
        detail=detail,
        notification_id=str(notification.id),
        event_id=notification.event_id,
        event_type=notification.event_type,
        booking_id=notification.booking_id,
        user_id=notification.event_data.get("user_id"),
        template=notification.template,
    )

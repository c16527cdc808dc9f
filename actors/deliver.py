"""One delivery, over any channel: claimed, sent, recorded; tried again or given up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import dramatiq

from actors import deliveries
from actors.backoff import delay
from actors.errors import DeliveryError, TemporaryFailure, Uncertain
from app.clock import utcnow
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.models import Notification

log = get_logger(__name__)


class Channel(Protocol):
    """A way to reach people."""

    def send(self, notification: Notification) -> Mapping[str, Any]:
        """Send one delivery.

        Returns:
            Fields to record with it, as its subject.

        Raises:
            DeliveryError: it was not accepted, or nobody knows.
        """


class DeliveryFailed(Exception):
    """A delivery failed for good; its message goes to the dead letters."""


class Deliver:
    """The actor of one channel.

    Args:
        channel: how to send.
        max_retries: tries after the first.
    """

    def __init__(self, channel: Channel, max_retries: int) -> None:
        self._channel = channel
        self._max_retries = max_retries

    def __call__(self, notification_id: str) -> None:
        """Send one delivery, unless it was sent before.

        Raises:
            dramatiq.Retry: it may succeed later.
            DeliveryFailed: it never will, or was tried often enough.
        """
        claimed = deliveries.claim(notification_id)
        if claimed is None:
            return
        if isinstance(claimed, deliveries.Busy):
            wait = (claimed.until - utcnow()).total_seconds()
            raise dramatiq.Retry("another worker holds this delivery", max(1_000, int(wait * 1_000)))
        try:
            fields = self._channel.send(claimed)
        except TemporaryFailure as error:
            self._retry(claimed, error)
        except DeliveryError as error:
            status = "uncertain" if isinstance(error, Uncertain) else "failed"
            self._give_up(claimed, status, error)
        else:
            _finish(claimed, "sent", **fields)

    def _retry(self, notification: Notification, error: TemporaryFailure) -> NoReturn:
        retries = notification.retry_count
        if retries >= self._max_retries:
            self._give_up(notification, "failed", error)
        _finish(notification, "retrying", str(error), retry_count=retries + 1)
        raise dramatiq.Retry(str(error), delay(retries)) from error

    def _give_up(self, notification: Notification, status: str, error: DeliveryError) -> NoReturn:
        _finish(notification, status, str(error))
        raise DeliveryFailed(str(error)) from error


def _finish(notification: Notification, status: str, detail: str = "", **fields: Any) -> None:
    deliveries.finish(notification, status, detail, **fields)
    log.info(
        "delivery",
        channel=notification.notification_type,
        status=status,
        detail=detail or None,
        event_id=notification.event_id,
        event_type=notification.event_type,
        user_id=notification.event_data.get("user_id"),
        template=notification.template,
    )

"""An event in, its deliveries out: checked, recorded once for each channel, and queued for sending."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from actors import deliveries
from actors.deliveries import ConflictingEvent
from app.events.catalog import check_event
from app.events.content import canonical
from app.events.schemas import InvalidEvent, without_nulls
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from actors.event_status import EventStatus
    from app.models import Notification

log = get_logger(__name__)

#: Channel → the event's field with the recipient.
RECIPIENTS = {"email": "user_email", "sms": "user_phone"}


class Notify:
    """The actor `notify`.

    Args:
        channels: those that are on.
        dispatch: queues a delivery.
        status: the event's status in Redis.
    """

    def __init__(
        self, channels: list[str], dispatch: Callable[[Notification], None], status: EventStatus
    ) -> None:
        self._channels = channels
        self._dispatch = dispatch
        self._status = status

    def __call__(self, event: dict[str, Any]) -> None:
        """Handle one event. Safe to repeat at any point.

        Raises:
            InvalidEvent: it can't be handled; the message goes to the dead letters as it came.
        """
        event_id = str(event.get("event_id"))
        digest = hashlib.sha256(canonical(without_nulls(event)).encode()).hexdigest()[:32]
        status, known = self._status.begin(event_id)
        if (status, known) == ("processed", digest):
            log.info("event repeated", event_id=event_id)
            return
        # What was processed stays so, whatever else comes under its id.
        first = status != "processed"
        try:
            event, kind = check_event(event)
            if status == "failed":
                self._status.set(event_id, "processing")
            for channel in self._channels:
                self._deliver(event, channel, kind.template)
        except InvalidEvent as error:
            conflict = isinstance(error, ConflictingEvent)
            if conflict:
                # The dead letter is the copy kept aside; what was sent stays as it was.
                self._status.set(event_id, "processed")
            elif first:
                self._status.set(event_id, "failed")
            message = "event kept aside" if conflict else "event refused"
            log.error(message, event_id=event_id, event_type=event.get("event_type"), reason=str(error))
            raise
        self._status.processed(event_id, digest)

    def _deliver(self, event: dict[str, Any], channel: str, template: str) -> None:
        notification = deliveries.record(event, channel, template, event.get(RECIPIENTS[channel]))
        if notification.status == "queued":
            # Also for a delivery recorded before: the process may have died before it was queued.
            self._dispatch(notification)

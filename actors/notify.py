"""An event in, its deliveries out: checked, recorded once for each channel, and sent or queued.

One delivery is tried on the spot, by who has just recorded it, where this worker serves its queue: a mail
that the server takes at once, as nearly all are, costs no second message and no claim. Its queue gets what
did not settle: what is to be tried again, and the letter of what failed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import dramatiq
import redis
from dramatiq.errors import BrokerConnectionError
from marshmallow import ValidationError

from actors import deliveries
from actors.deliver import DeliveryFailed, surely
from actors.deliveries import ConflictingEvent
from app.canonical_json import canonical
from app.channels import CHANNELS, ChannelName
from app.delivery_status import DeliveryStatus
from app.events.catalog import check_event
from app.events.decode import InvalidEvent
from app.events.fields import Id
from app.events.remarks import remarks
from app.events.schemas import without_nulls
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from actors.deliver import Deliver
    from actors.dispatch import Dispatch
    from actors.event_status import EventStatus
    from app.models import Notification

log = get_logger(__name__)

#: An OSError where its name does not resolve.
_BROKER_AWAY = (BrokerConnectionError, redis.RedisError, OSError)


_EVENT_ID = Id(required=True)


def _usable_id(event: dict[str, Any]) -> str:
    """Return the event's id, which becomes part of keys in Redis.

    Raises:
        InvalidEvent: the id is missing, too long, or not visible.
    """
    try:
        return str(_EVENT_ID.deserialize(event.get("event_id")))
    except ValidationError as error:
        reason = f"event_id: {' '.join(map(str, error.messages))}"
        log.error("event refused", event_type=event.get("event_type"), reason=reason)
        raise InvalidEvent(reason) from None


class Notify:
    """The actor `notify`.

    Args:
        channels: those that are on → the actor that sends over them, in the order to record them.
        inline: whether this worker is to send over a channel before it acknowledges the event.
        dispatch: queues a delivery.
        status: the event's status in Redis.
    """

    def __init__(
        self,
        channels: Mapping[ChannelName, Deliver],
        inline: Callable[[ChannelName], bool],
        dispatch: Dispatch,
        status: EventStatus,
    ) -> None:
        self._channels = channels
        self._inline = inline
        self._dispatch = dispatch
        self._status = status

    def __call__(self, event: dict[str, Any]) -> None:
        """Handle one event. Safe to repeat at any point.

        Raises:
            InvalidEvent: it can't be handled; the message goes to the dead letters as it came.
        """
        event_id = _usable_id(event)
        digest = hashlib.sha256(canonical(without_nulls(event)).encode()).hexdigest()[:32]
        status, known = self._status.begin(event_id)
        if (status, known) == ("processed", digest):
            log.info("event repeated", event_id=event_id)
            return
        # What was processed stays so, whatever else comes under its id.
        first = status != "processed"
        try:
            event, kind = check_event(event)
            for remark in remarks(event) if kind.template else ():
                log.warning("event taken", event_id=event_id, event_type=event["event_type"], reason=remark)
            if status == "failed":
                self._status.set(event_id, "processing")
            ours = self._record(event, kind.template) if kind.template else None
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
        if ours:
            self._try(ours)
        self._status.processed(event_id, digest)

    def _record(self, event: dict[str, Any], template: str) -> Notification | None:
        """Record the deliveries and queue them. Return the inline one, leased, instead of queuing it."""
        ours: Notification | None = None
        for channel, deliver in self._channels.items():
            recipient = event.get(CHANNELS[channel].recipient_field)
            sender = deliver.sender
            lease = sender.lease if sender.quick and self._inline(channel) else None
            notification, new = deliveries.record(
                event, channel, template, recipient, lease, sender.message_id(event["event_id"])
            )
            if new and notification.status == DeliveryStatus.SENDING:
                ours = notification
            elif notification.status == DeliveryStatus.QUEUED:
                # Also for a delivery recorded before: the process may have died before it was queued.
                self._dispatch(notification)
        return ours

    def _try(self, notification: Notification) -> None:
        try:
            self._channels[ChannelName(notification.notification_type)].attempt(notification)
        except DeliveryFailed:
            # Nobody else knows that a letter is owed.
            surely(lambda: self._dispatch(notification, given_up=True), _BROKER_AWAY)
        except dramatiq.Retry as later:
            try:
                self._dispatch(notification, delay=later.delay)
            except Exception as error:  # whatever it is: its record is due, and the sweep finds it
                log.warning("retry not queued", notification_id=str(notification.id), reason=str(error))

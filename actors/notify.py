"""Handle events: validate each, record its deliveries, and send or queue them.

The worker that records a delivery attempts it inline if it also consumes the delivery's queue. Nearly all
mails are accepted quickly, and then need no second message and no claim. The queue gets only retries and dead
letters.
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
from app.clock import utcnow
from app.delivery_status import DeliveryStatus
from app.events.catalog import REMINDER_TEMPLATE, as_fragment, check_event
from app.events.decode import InvalidEvent
from app.events.fields import Id
from app.events.remarks import remarks
from app.events.schemas import without_nulls
from app.privacy.redaction import redacted
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from actors.deliver import Deliver
    from actors.event_status import EventStatus
    from actors.reminders import Reminders
    from app.messaging.dispatch import Dispatch
    from app.models import Notification
    from app.privacy.erasures import Erasures

log = get_logger(__name__)

#: OSError if the host name does not resolve.
_BROKER_OUTAGES = (BrokerConnectionError, redis.RedisError, OSError)


_EVENT_ID = Id(required=True)


def _usable_id(event: dict[str, Any]) -> str:
    """Return the event's id, which becomes part of keys in Redis.

    Raises:
        InvalidEvent: the id is missing, too long, or has invisible characters.
    """
    try:
        return str(_EVENT_ID.deserialize(event.get("event_id")))
    except ValidationError as error:
        reason = f"event_id: {as_fragment(error.messages)}"
        log.error("event refused", event_type=event.get("event_type"), reason=reason)
        raise InvalidEvent(reason) from None


class Notify:
    """The actor `notify`.

    Args:
        channels: enabled channels → their actors, in the order to record them.
        inline: returns whether this worker sends over a channel before it acknowledges the event.
        dispatch: enqueues a delivery.
        status: the event's status in Redis.
        reminders: plans the reminders of bookings.
        erasures: customers whose events are redacted.
    """

    def __init__(
        self,
        channels: Mapping[ChannelName, Deliver],
        inline: Callable[[ChannelName], bool],
        dispatch: Dispatch,
        status: EventStatus,
        reminders: Reminders,
        erasures: Erasures,
    ) -> None:
        self._channels = channels
        self._inline = inline
        self._dispatch = dispatch
        self._status = status
        self._reminders = reminders
        self._erasures = erasures

    def __call__(self, event: dict[str, Any]) -> None:
        """Handle one event. Safe to repeat at any point.

        Raises:
            InvalidEvent: the event can't be handled. The message becomes a dead letter, unchanged.
        """
        event_id = _usable_id(event)
        digest = hashlib.sha256(canonical(without_nulls(event)).encode()).hexdigest()[:32]
        status, known = self._status.begin(event_id)
        if (status, known) == ("processed", digest):
            log.info("event repeated", event_id=event_id)
            return
        # A processed event keeps its status, whatever else arrives with its id.
        first = status != "processed"
        try:
            event, kind = check_event(event)
            for remark in remarks(event) if kind.template else ():
                log.warning(
                    "event accepted with warnings",
                    event_id=event_id,
                    event_type=event["event_type"],
                    reason=remark,
                )
            if status == "failed":
                self._status.set(event_id, "processing")
            if kind.template and self._erasures.covers(event):
                event = redacted(event)
                log.info(
                    "event of an erased customer redacted", event_id=event_id, event_type=event["event_type"]
                )
            if not first or len(self._channels) > 1:
                # Before a channel that was enabled since records, and queues, a delivery of another event.
                deliveries.check_repeated(event)
            ours = self._record(event, kind.template) if kind.template else None
        except InvalidEvent as error:
            conflict = isinstance(error, ConflictingEvent)
            if conflict:
                # The dead letter is the quarantined copy. Sent deliveries do not change.
                self._status.set(event_id, "processed")
            elif first:
                self._status.set(event_id, "failed")
            message = "event quarantined" if conflict else "event refused"
            log.error(message, event_id=event_id, event_type=event.get("event_type"), reason=str(error))
            raise
        if ours:
            self._try(ours)
        self._reminders.note(event)
        self._status.processed(event_id, digest)

    def _record(self, event: dict[str, Any], template: str) -> Notification | None:
        """Record the deliveries and queue them. Return the inline one, leased, instead of queuing it."""
        ours: Notification | None = None
        upcoming = self._reminders.upcoming_showtime(event, utcnow())
        for position, (channel, deliver) in enumerate(self._channels.items()):
            recipient = event.get(CHANNELS[channel].recipient_field)
            sender = deliver.sender
            lease = sender.lease if sender.is_quick and self._inline(channel) else None
            notification, new = deliveries.record(
                event,
                channel,
                template,
                recipient,
                lease,
                sender.message_id(event["event_id"]),
                # One reminder for the event, not for each of its deliveries.
                None if position else upcoming,
            )
            if new and notification.status == DeliveryStatus.SENDING:
                ours = notification
            elif notification.status == DeliveryStatus.QUEUED:
                # Also for an existing delivery, because the process may have died before it was queued.
                self._dispatch(notification)
        return ours

    def remind(self, event: dict[str, Any]) -> None:
        """Record and queue the deliveries of a `booking.reminder`, each once. Safe to repeat."""
        for channel, deliver in self._channels.items():
            recipient = event.get(CHANNELS[channel].recipient_field)
            message_id = deliver.sender.message_id(event["event_id"])
            try:
                notification, new = deliveries.record(
                    event, channel, REMINDER_TEMPLATE, recipient, message_id=message_id
                )
            except ConflictingEvent:
                continue  # recorded before, by a worker with another state or setting
            if new and notification.status == DeliveryStatus.QUEUED:
                self._dispatch(notification)

    def _try(self, notification: Notification) -> None:
        try:
            self._channels[ChannelName(notification.notification_type)].attempt(notification)
        except DeliveryFailed:
            # No other process knows that a dead letter must be published.
            surely(lambda: self._dispatch(notification, given_up=True), _BROKER_OUTAGES)
        except dramatiq.Retry as later:
            try:
                self._dispatch(notification, delay=later.delay)
            except Exception as error:  # any error: the record is due, and the sweep finds it
                log.warning("retry not queued", notification_id=str(notification.id), reason=str(error))

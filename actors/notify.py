"""An event in, its deliveries out: checked, recorded once for each channel, and queued for sending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dramatiq.message import Message

from actors import deliveries
from app.events.catalog import check_event
from app.events.schemas import InvalidEvent
from app.messaging.topology import EMAIL_QUEUE, SEND_EMAIL, SEND_SMS, SMS_QUEUE, Topology
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from dramatiq import Broker

    from actors.event_status import EventStatus
    from app.settings import Settings

log = get_logger(__name__)

#: Channel → the event's field with the recipient, the queue and the actor that sends.
_CHANNELS = {
    "email": ("user_email", EMAIL_QUEUE, SEND_EMAIL),
    "sms": ("user_phone", SMS_QUEUE, SEND_SMS),
}


class Notify:
    """The actor `notify`.

    Args:
        settings: which channels are on.
        broker: where deliveries are queued.
        status: the event's status in Redis.
    """

    def __init__(self, settings: Settings, broker: Broker, status: EventStatus) -> None:
        self._broker = broker
        self._status = status
        self._topology = Topology.of(settings)
        self._channels = ["email"] if settings.sms_provider == "none" else ["email", "sms"]

    def __call__(self, event: dict[str, Any]) -> None:
        """Handle one event. Safe to repeat at any point.

        Raises:
            InvalidEvent: it can't be handled; the message goes to the dead letters as it came.
        """
        event_id = str(event.get("event_id"))
        if self._status.processed(event_id):
            log.info("event repeated", event_id=event_id)
            return
        try:
            event, kind = check_event(event)
            self._status.set(event_id, "processing")
            for channel in self._channels:
                self._deliver(event, channel, kind.template)
        except InvalidEvent as error:
            self._status.set(event_id, "failed")
            log.error("event refused", event_id=event_id, reason=str(error))
            raise
        self._status.set(event_id, "processed")

    def _deliver(self, event: dict[str, Any], channel: str, template: str) -> None:
        field, queue, actor = _CHANNELS[channel]
        notification = deliveries.record(event, channel, template, event.get(field))
        ids = {"event_id": notification.event_id, "event_type": notification.event_type}
        if notification.status == "skipped":
            log.info("nothing to send", channel=channel, reason=notification.error_message, **ids)
        elif notification.status == "queued":
            # Also for a delivery recorded before: the process may have died before it was queued.
            self._broker.enqueue(
                Message(
                    queue_name=self._topology.queue(queue),
                    actor_name=actor,
                    args=(str(notification.id),),
                    kwargs={},
                    options={},
                )
            )

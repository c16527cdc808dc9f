"""Reminders of a show, `REMINDER_HOURS` before it begins.

The records of confirmations and updates contain the start of the show, if it is certain and a reminder is
ahead. A sweep finds the due records, derives the booking's current state, and creates a `booking.reminder`
event. Its id follows from the booking and the showtime, so it is recorded once.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from dramatiq.errors import BrokerConnectionError

from actors import deliveries
from actors.bookings import CHANGES, STATES, current_state, outdated, recorded_facts
from app.clock import iso, utcnow
from app.events.catalog import DELIVERED, REMINDER
from app.events.times import read_time
from app.models import OUTAGES, Notification
from app.telemetry import metrics, tracing
from app.telemetry.logs import get_logger

log = get_logger(__name__)

#: Records a reminder's deliveries, and queues them.
Queue = Callable[[dict[str, Any]], None]


class Reminders:
    """Plans the reminders of bookings.

    Args:
        before: time before the show; zero disables reminders.
        default_zone: IANA zone for showtimes without one; "" for none.
    """

    def __init__(self, before: timedelta, default_zone: str = "") -> None:
        self._before = before
        self._default_zone = default_zone

    @property
    def enabled(self) -> bool:
        """Return whether reminders are enabled."""
        return self._before > timedelta(0)

    def upcoming_showtime(self, event: Mapping[str, Any], now: datetime) -> datetime | None:
        """Return when the show of an event begins; None if no reminder is ahead.

        None for free text, dates, and times without a known zone, because a late reminder is useless.
        """
        if not self.enabled or event["event_type"] not in STATES:
            return None
        begins = read_time(event["showtime"], event.get("timezone"), self._default_zone).instant
        if begins is None:
            return None
        begins = begins.astimezone(UTC)
        # Not `begins - before > now`, which fails for a show in the first year.
        return begins if begins - now > self._before else None

    def note(self, event: Mapping[str, Any]) -> None:
        """Drop planned reminders that a recorded event has made obsolete.

        The sweep would notice too, but retention may have deleted the event by then.
        """
        if not self.enabled or event["event_type"] not in CHANGES:
            return
        facts = recorded_facts(event["booking_id"])
        for fact in facts:
            if fact.upcoming_showtime and (reason := outdated(fact.event, facts)):
                deliveries.forget_showtime(fact.notification_id, fact.upcoming_showtime)
                log.info("reminder dropped", booking_id=event["booking_id"], reason=reason)

    def remind(self, queue: Queue) -> None:
        """Queue the reminders that are due. Safe to run in many workers at once.

        One batch at a time: the rest waits for the next round, so that the queues stay short.
        """
        due = deliveries.with_showtime_until(utcnow() + self._before)
        # In random order, so that concurrent workers do not process the same reminders at the same time.
        random.shuffle(due)
        for record in due:
            try:
                self._remind(record, queue)
            except (*OUTAGES, BrokerConnectionError, redis.RedisError, OSError):
                raise
            except Exception:  # a failure of one must not delay the others
                # It stays due until the show begins.
                log.exception("unexpected error", event_id=record.event_id)

    def _remind(self, record: Notification, queue: Queue) -> None:
        begins = record.upcoming_showtime
        facts = recorded_facts(record.booking_id)
        if not any(fact.notification_id == record.id and fact.upcoming_showtime for fact in facts):
            return  # another worker was faster
        # A later state with the same ticket may have a new link, or another address.
        current = current_state(facts)
        event = reminder_of(current.event if current else record.event_data, begins, self._before)
        reason = self._too_late(record, begins) or outdated(record.event_data, facts)
        if reason is None and DELIVERED[REMINDER].schema.validate(event):
            reason = "its event lacks what a reminder needs"
        if reason is None:
            with tracing.span("remind", parent=record.traceparent or ""):
                queue(event)
            metrics.REMINDERS.labels("queued").inc()
        else:
            log.info("reminder dropped", booking_id=record.booking_id, reason=reason)
            metrics.REMINDERS.labels("dropped").inc()
        # Last, so that another worker repeats it if this one dies.
        deliveries.forget_showtime(record.id, begins)

    def _too_late(self, record: Notification, begins: datetime) -> str | None:
        if begins < utcnow():
            return "the showtime has passed"
        # REMINDER_HOURS was smaller when the booking was made.
        booked_late = record.created_at > begins - self._before
        return "the booking was made within REMINDER_HOURS of the show" if booked_late else None


def reminder_of(state: Mapping[str, Any], begins: datetime, before: timedelta) -> dict[str, Any]:
    """Return the reminder event of a booking.

    Args:
        state: the event with the booking's current state.
        begins: its showtime, aware.
        before: time before the showtime when the reminder is due.
    """
    key = f"{state['booking_id']}\0{iso(begins)}".encode("utf-8", "surrogatepass")
    kept = {name: value for name, value in state.items() if name != "previous"}
    return kept | {
        "event_id": f"evt_reminder_{hashlib.sha256(key).hexdigest()[:32]}",
        "event_type": REMINDER,
        "timestamp": iso(begins - before),
        "begins_at": iso(begins),
    }

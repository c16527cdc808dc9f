"""Catalog of event types: the schema and email template of each. To add a type, add one row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from marshmallow import Schema

from app.events import schemas
from app.events.decode import InvalidEvent
from app.events.schemas import without_nulls


@dataclass(frozen=True)
class EventType:
    """Schema and template of one event type.

    Attributes:
        template: of the email; None for events that only other services read.
    """

    schema: Schema
    template: str | None


CATALOG: dict[str, EventType] = {
    "booking.confirmed": EventType(schemas.BookingConfirmed(), "booking_confirmation"),
    "booking.updated": EventType(schemas.BookingUpdated(), "booking_update"),
    "booking.cancelled": EventType(schemas.BookingCancelled(), "booking_cancellation"),
    "booking.refunded": EventType(schemas.BookingRefunded(), "payment_refund"),
    "payment.success": EventType(schemas.PaymentSuccess(), "payment_success"),
    "payment.failed": EventType(schemas.PaymentFailed(), "payment_failed"),
    "payment.refund": EventType(schemas.PaymentRefund(), "payment_refund"),
    "payment.canceled": EventType(schemas.PaymentCanceled(), None),
    "payment.disputed": EventType(schemas.PaymentDisputed(), None),
}

#: Type of reminders. The worker creates them from its records; no queue accepts one.
REMINDER = "booking.reminder"
REMINDER_TEMPLATE = "booking_reminder"

#: Every event type that a delivery can have, including reminders.
DELIVERED = CATALOG | {REMINDER: EventType(schemas.BookingReminder(), REMINDER_TEMPLATE)}


def check_event(event: dict[str, Any]) -> tuple[dict[str, Any], EventType]:
    """Validate an event. Return it without nulls, with its row of the catalog.

    Raises:
        InvalidEvent: the type is unknown, or a field is missing or invalid.
    """
    event_type = event.get("event_type")
    kind = CATALOG.get(event_type) if isinstance(event_type, str) else None
    if kind is None:
        raise InvalidEvent(f"unknown event_type {event_type!r:.100}: use one of {', '.join(CATALOG)}")
    event = without_nulls(event)
    errors = kind.schema.validate(event)
    if errors:
        raise InvalidEvent(f"{event_type}: {'; '.join(sorted(_faults(errors)))}")
    return event, kind


def _faults(errors: Mapping[Any, Any], path: str = "") -> Iterator[str]:
    """Yield each validation error with the path to its field: marshmallow nests them."""
    for name, found in errors.items():
        where = f"{path}{name}"
        if isinstance(found, Mapping):
            yield from _faults(found, f"{where}.")
        else:
            yield f"{where}: {as_fragment(found)}"


def as_fragment(messages: Iterable[object]) -> str:
    """Join validation messages in the form that follows a field name: lower case, without a period."""
    return ", ".join(f"{text[:1].lower()}{text[1:].rstrip('.')}" for text in map(str, messages))

"""The schemas of events. Unknown fields pass through; null means absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from marshmallow import INCLUDE, Schema, fields, validate

from app.declines import Retry
from app.events.fields import Choice, Currency, Email, Id, Minutes, Moment, Money, Text, Version

#: The longest link; the longest name, code or time.
_URL, _WORD = 2_048, 200

#: Maximum number of seats of a booking, and of showings offered instead of a canceled one.
_MAX_SEATS, _MAX_SHOWTIMES = 200, 50


class Event(Schema):
    """The fields that every event has."""

    class Meta:
        unknown = INCLUDE

    event_id = Id(required=True)
    event_type = Text(_WORD, required=True)
    user_id = Id(required=True)
    user_email = Email()
    timestamp = Moment(_WORD, required=True)
    user_phone = Text(_WORD)
    user_name = Text(_WORD)
    locale = Text(_WORD)
    timezone = Text(_WORD)
    currency = Currency()
    schema_version = Version()


class Booking(Event):
    """An event about one booking."""

    booking_id = Id(required=True)


class PaymentSuccess(Booking):
    """payment.success"""

    transaction_id = Id(required=True)
    amount = Money(required=True)
    payment_method = Text(_WORD, required=True)
    card_last_four = Text(_WORD)
    card_brand = Text(_WORD)
    processed_at = Moment(_WORD)


class PaymentFailed(Booking):
    """payment.failed"""

    transaction_id = Id(required=True)
    amount = Money(required=True)
    payment_method = Text(_WORD, required=True)
    failure_reason = Text(required=True)
    error_code = Text(_WORD, required=True)
    retry_possible = fields.Boolean(required=True)
    retry_advice = Choice(get_args(Retry))
    retry_url = Text(_URL)


class PaymentRefund(Booking):
    """payment.refund"""

    original_transaction_id = Id(required=True)
    refund_transaction_id = Id(required=True)
    refund_amount = Money(required=True)
    reason = Text(required=True)
    processing_time = Text()


class PaymentCanceled(Booking):
    """payment.canceled"""

    transaction_id = Id(required=True)
    amount = Money(required=True)
    payment_method = Text(_WORD, required=True)


class PaymentDisputed(Booking):
    """payment.disputed"""

    transaction_id = Id(required=True)
    dispute_id = Id(required=True)
    status = Text(_WORD, required=True)
    amount = Money()
    reason = Text(_WORD)
    evidence_due_by = Moment(_WORD)


class Ticket(Schema):
    """One seat's ticket, with its entrance code."""

    class Meta:
        unknown = INCLUDE

    seat = Text(_WORD, required=True)
    code = Id(required=True)
    category = Text(_WORD)
    holder_name = Text(_WORD)


class BookingConfirmed(Booking):
    """booking.confirmed"""

    movie_title = Text(required=True)
    showtime = Moment(required=True)
    seats = fields.List(Text(_WORD, required=True), required=True, validate=validate.Length(max=_MAX_SEATS))
    total_amount = Money(required=True)
    cinema_name = Text()
    cinema_address = Text()
    directions_url = Text(_URL)
    screen = Text()
    poster_url = Text(_URL)
    booking_date = Moment(_WORD)
    duration_minutes = Minutes()
    ticket_url = Text(_URL)
    tickets = fields.List(fields.Nested(Ticket), validate=validate.Length(max=_MAX_SEATS))


class Previous(Schema):
    """The old values of the fields that changed; "" for one that was absent."""

    class Meta:
        unknown = INCLUDE

    movie_title = Text()
    showtime = Moment()
    seats = fields.List(Text(_WORD, required=True), validate=validate.Length(max=_MAX_SEATS))
    cinema_name = Text()
    cinema_address = Text()
    screen = Text()


class BookingUpdated(BookingConfirmed):
    """booking.updated: the booking as it is now, and what it was before."""

    previous = fields.Nested(Previous, required=True)


class BookingReminder(BookingConfirmed):
    """booking.reminder: made by the worker, from the confirmation or the latest update."""

    begins_at = Moment(_WORD, required=True)


class AlternativeShowtime(Schema):
    """Another showing, offered instead of a canceled one."""

    class Meta:
        unknown = INCLUDE

    showtime = Moment(required=True)
    cinema_name = Text()
    booking_url = Text(_URL)


class BookingCancelled(Booking):
    """booking.cancelled"""

    movie_title = Text()
    showtime = Moment()
    seats = fields.List(Text(_WORD, required=True), validate=validate.Length(max=_MAX_SEATS))
    cinema_name = Text()
    cancellation_reason = Text()
    cancelled_at = Moment(_WORD)
    refund_eligible = fields.Boolean()
    refund_amount = Money()
    policy_url = Text(_URL)
    alternative_showtimes = fields.List(
        fields.Nested(AlternativeShowtime), validate=validate.Length(max=_MAX_SHOWTIMES)
    )


class BookingRefunded(Booking):
    """booking.refunded"""

    refund_amount = Money(required=True)
    refund_transaction_id = Id()
    original_transaction_id = Id()
    processing_time = Text()


def without_nulls(value: Any) -> Any:
    """Return `value` without null members of objects, at every depth."""
    if isinstance(value, Mapping):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value if item is not None]
    return value

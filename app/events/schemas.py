"""What an event must carry to be mailed. Unknown fields pass through; null means absent."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, fields, validate

_ID = validate.Length(1, 255)


class InvalidEvent(Exception):
    """An event that can never be handled as it is. The message names every field at fault."""


class Money(fields.Field[Decimal]):
    """An amount in major units: a JSON number, or a string of one."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValidationError("Must be a number, or a string of one.")
        try:
            amount = Decimal(str(value))
        except InvalidOperation:
            raise ValidationError("Must be a number, or a string of one.") from None
        if not amount.is_finite() or amount < 0:
            raise ValidationError("Must be a finite number, not negative.")
        return amount


class Event(Schema):
    """The fields that every event has."""

    class Meta:
        unknown = INCLUDE

    event_id = fields.String(required=True, validate=_ID)
    event_type = fields.String(required=True, validate=_ID)
    user_id = fields.String(required=True, validate=_ID)
    user_email = fields.String()
    timestamp = fields.String(required=True)
    user_phone = fields.String()
    user_name = fields.String()
    locale = fields.String()
    timezone = fields.String()
    currency = fields.String(validate=validate.Length(equal=3))


class Booking(Event):
    """An event about one booking."""

    booking_id = fields.String(required=True, validate=_ID)


class PaymentSuccess(Booking):
    """payment.success"""

    transaction_id = fields.String(required=True)
    amount = Money(required=True)
    payment_method = fields.String(required=True)
    card_last_four = fields.String()
    card_brand = fields.String()
    processed_at = fields.String()


class PaymentFailed(Booking):
    """payment.failed"""

    transaction_id = fields.String(required=True)
    amount = Money(required=True)
    payment_method = fields.String(required=True)
    failure_reason = fields.String(required=True)
    error_code = fields.String(required=True)
    retry_possible = fields.Boolean(required=True)
    retry_url = fields.String()


class PaymentRefund(Booking):
    """payment.refund"""

    original_transaction_id = fields.String(required=True)
    refund_transaction_id = fields.String(required=True)
    refund_amount = Money(required=True)
    reason = fields.String(required=True)
    processing_time = fields.String()


class BookingConfirmed(Booking):
    """booking.confirmed"""

    movie_title = fields.String(required=True)
    showtime = fields.String(required=True)
    seats = fields.List(fields.String(), required=True)
    total_amount = Money(required=True)
    cinema_name = fields.String()
    cinema_address = fields.String()
    directions_url = fields.String()
    screen = fields.String()
    poster_url = fields.String()
    booking_date = fields.String()
    duration_minutes = fields.Integer()
    ticket_url = fields.String()


class AlternativeShowtime(Schema):
    """Another showing, offered in place of a cancelled one."""

    class Meta:
        unknown = INCLUDE

    showtime = fields.String(required=True)
    cinema_name = fields.String()
    booking_url = fields.String()


class BookingCancelled(Booking):
    """booking.cancelled"""

    movie_title = fields.String()
    showtime = fields.String()
    seats = fields.List(fields.String())
    cinema_name = fields.String()
    cancellation_reason = fields.String()
    cancelled_at = fields.String()
    refund_eligible = fields.Boolean()
    refund_amount = Money()
    policy_url = fields.String()
    alternative_showtimes = fields.List(fields.Nested(AlternativeShowtime))


class BookingRefunded(Booking):
    """booking.refunded"""

    refund_amount = Money(required=True)
    refund_transaction_id = fields.String()
    original_transaction_id = fields.String()
    processing_time = fields.String()


def without_nulls(value: Any) -> Any:
    """`value` with every null member of an object left out, at every depth."""
    if isinstance(value, Mapping):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value if item is not None]
    return value

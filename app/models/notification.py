"""One delivery of one event over one channel."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from mongoengine import (
    BooleanField,
    DateTimeField,
    EmbeddedDocument,
    EmbeddedDocumentListField,
    IntField,
    StringField,
)
from mongoengine.base import BaseField

from app.channels import ChannelName
from app.delivery_status import DeliveryStatus
from app.models.database import CASE_INSENSITIVE, Record

#: A message that is queued for longer may have been lost. If it was not, the second message finds the
#: delivery claimed or finished.
GRACE = timedelta(minutes=5)


class EventField(BaseField):
    """An event, unchanged. A DictField would refuse dots in unknown field names."""

    def lookup_member(self, name: str) -> EventField:
        """Return an event field by name, for indexes and queries."""
        return EventField(db_field=name)


class Attempt(EmbeddedDocument):
    """One attempt to send, and its result."""

    at = DateTimeField(required=True)
    outcome = StringField(required=True)
    detail = StringField()


class Notification(Record):
    """An email or SMS for an event."""

    event_id = StringField(required=True)
    event_type = StringField(required=True)
    #: email or sms.
    notification_type = StringField(required=True, choices=tuple(ChannelName))
    #: queued, sending, sent, retrying, failed, skipped, uncertain, delivered, undelivered, or bounced.
    status = StringField(required=True, choices=tuple(DeliveryStatus))
    booking_id = StringField()
    #: Email address or phone number.
    recipient = StringField()
    subject = StringField()
    template = StringField()
    #: Message-ID of the email, or the SMS provider's id of the message.
    message_id = StringField()
    #: `fallback` if the mail server of SMTP_FALLBACK_URL accepted the email.
    relay = StringField()
    #: Of an SMS: whether it replaces an undeliverable email, and therefore contains the ticket codes.
    stands_in = BooleanField()
    #: Of an SMS: the number of billed segments.
    segments = IntField()
    #: The event, unchanged.
    event_data = EventField(required=True)
    #: W3C trace context of the event, which the delivery's trace continues.
    traceparent = StringField()

    created_at = DateTimeField(required=True)
    sent_at = DateTimeField()
    #: When the email's bounce or the SMS's `undelivered` receipt arrived.
    returned_at = DateTimeField()
    #: Number of times that an operator resent the message. Receipts of an earlier message do not apply to a
    #: later one.
    resends = IntField(default=0)
    #: Whether the current resend ignores the suppression of the recipient.
    past_suppression = BooleanField()
    #: Time of the next attempt, while the status is `retrying`.
    next_attempt_at = DateTimeField()
    #: When the delivery becomes overdue; unset once it is finished. In the status `sending`, this is the end
    #: of the worker's lease; otherwise, it is the time at which the queued message counts as lost.
    due_at = DateTimeField()
    #: When the delivery fails if the mail server does not recover. Set at the first failed attempt.
    give_up_at = DateTimeField()
    #: Start of the show, in a confirmation or an update whose reminder is neither queued nor dropped yet.
    upcoming_showtime = DateTimeField()
    #: Number of retries.
    retry_count = IntField(default=0)
    #: Number of times that a worker claimed the delivery but reported no outcome.
    abandoned = IntField(default=0)
    #: How many of the `abandoned` claims were due to outages of MongoDB or Redis, not to lost workers.
    excused = IntField(default=0)
    #: Why the last attempt failed, or why nothing was sent.
    error_message = StringField()
    attempts = EmbeddedDocumentListField(Attempt)

    meta: ClassVar[dict[str, Any]] = {
        "collection": "notification_logs",
        "indexes": [
            {"fields": ["event_id", "notification_type"], "unique": True},
            {"fields": ["status", "created_at", "id"]},
            {"fields": ["booking_id", "-created_at"]},
            {"fields": ["due_at"], "sparse": True},
            {"fields": ["returned_at"], "sparse": True},
            {"fields": ["upcoming_showtime"], "sparse": True},
            {"fields": ["recipient", "-created_at"]},
            {"fields": ["recipient"], "sparse": True, "collation": CASE_INSENSITIVE},
            {"fields": ["event_data.user_id", "-created_at"]},
            {"fields": ["message_id"], "sparse": True},
            # The bookings of a screening.
            {"fields": ["event_data.showtime"], "sparse": True},
            {"fields": ["event_data.movie_title", "-created_at"], "sparse": True},
            {"fields": ["template", "-created_at", "-id"]},
            {"fields": ["-created_at", "-id"]},
        ],
    }

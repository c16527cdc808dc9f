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
    notification_type = StringField(required=True, choices=tuple(ChannelName))
    #: queued, sending, sent, retrying, failed, skipped, uncertain, delivered, undelivered, or bounced.
    status = StringField(required=True, choices=tuple(DeliveryStatus))
    booking_id = StringField()
    recipient = StringField()
    subject = StringField()
    template = StringField()
    message_id = StringField()
    #: `fallback` if the mail server that SMTP_FALLBACK_URL names accepted it.
    relay = StringField()
    #: Of an SMS: whether it replaces an undeliverable mail and therefore contains the booking's codes.
    stands_in = BooleanField()
    #: Of an SMS: number of billed segments.
    segments = IntField()
    event_data = EventField(required=True)
    #: The trace of its event, which the sender continues.
    traceparent = StringField()

    created_at = DateTimeField(required=True)
    sent_at = DateTimeField()
    #: When its bounce or its `undelivered` receipt arrived.
    returned_at = DateTimeField()
    #: How often an operator resent it. Receipts of an earlier message do not apply to a later one.
    resends = IntField(default=0)
    #: Whether the current resend ignores the suppression of its recipient.
    past_suppression = BooleanField()
    #: While it is retrying: time of the next attempt.
    next_attempt_at = DateTimeField()
    #: Until it is finished: when it is overdue. While it is sending, this is the end of the worker's lease;
    #: otherwise, the time at which its message counts as lost.
    due_at = DateTimeField()
    #: When it fails if the mail server does not recover. Set at its first failed attempt.
    give_up_at = DateTimeField()
    #: Of a confirmation or an update, until its reminder is queued or dropped: start of the show.
    upcoming_showtime = DateTimeField()
    retry_count = IntField(default=0)
    #: How often a worker claimed it and reported no outcome.
    abandoned = IntField(default=0)
    #: How many of these were outages of MongoDB or Redis, not lost workers.
    excused = IntField(default=0)
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

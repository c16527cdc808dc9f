"""One delivery of one event over one channel."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from mongoengine import (
    DateTimeField,
    EmbeddedDocument,
    EmbeddedDocumentListField,
    IntField,
    StringField,
)
from mongoengine.base import BaseField

from app.channels import ChannelName
from app.delivery_status import DeliveryStatus
from app.models.database import Record

#: A message that waits for longer in its queue may have been lost. If it was not, the second one finds the
#: delivery taken or finished.
GRACE = timedelta(minutes=5)


class EventField(BaseField):
    """An event as it came. A DictField would refuse dots in the names of fields nobody here reads."""


class Attempt(EmbeddedDocument):
    """One try to send, and how it ended."""

    at = DateTimeField(required=True)
    outcome = StringField(required=True)
    detail = StringField()


class Notification(Record):
    """A mail or a text message that an event asks for."""

    event_id = StringField(required=True)
    event_type = StringField(required=True)
    notification_type = StringField(required=True, choices=tuple(ChannelName))
    #: queued, sending, sent, retrying, failed, skipped or uncertain.
    status = StringField(required=True, choices=tuple(DeliveryStatus))
    booking_id = StringField()
    recipient = StringField()
    subject = StringField()
    template = StringField()
    message_id = StringField()
    #: `fallback` if the mail server that SMTP_FALLBACK_URL names accepted it.
    relay = StringField()
    #: Of an SMS: how many messages it was billed as.
    segments = IntField()
    event_data = EventField(required=True)
    #: The trace of its event, for who sends it.
    traceparent = StringField()

    created_at = DateTimeField(required=True)
    sent_at = DateTimeField()
    #: While it is retrying: when it may be tried again.
    next_attempt_at = DateTimeField()
    #: Until it is finished: when it should have moved on. While it is sending, the end of the worker's lease;
    #: else the time at which its message counts as lost.
    due_at = DateTimeField()
    #: When it fails if the trouble lasts, from its first failed attempt on.
    give_up_at = DateTimeField()
    retry_count = IntField(default=0)
    #: How often a worker took it and never said how that ended.
    abandoned = IntField(default=0)
    error_message = StringField()
    attempts = EmbeddedDocumentListField(Attempt)

    meta: ClassVar[dict[str, Any]] = {
        "collection": "notification_logs",
        "indexes": [
            {"fields": ["event_id", "notification_type"], "unique": True},
            {"fields": ["status", "created_at", "id"]},
            {"fields": ["booking_id", "-created_at"]},
            {"fields": ["due_at"], "sparse": True},
            {"fields": ["recipient", "-created_at"]},
            {"fields": ["message_id"], "sparse": True},
            {"fields": ["-created_at", "-id"]},
        ],
    }

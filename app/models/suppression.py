"""Suppressed recipients, and the soft bounces that may lead to a suppression."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar

from mongoengine import DateTimeField, StringField

from app.channels import ChannelName
from app.models.database import Record

#: Soft bounces within this time are counted together.
SOFT_BOUNCE_WINDOW = timedelta(days=7)


class SuppressionReason(StrEnum):
    """Why a recipient is suppressed."""

    #: The mailbox or the phone number does not exist, or never takes messages.
    HARD_BOUNCE = "hard_bounce"
    #: Two messages bounced for a temporary reason within a week.
    SOFT_BOUNCES = "soft_bounces"
    #: The recipient replied STOP, or unsubscribed at the SMS provider.
    STOP = "stop"
    #: An operator added it.
    OPERATOR = "operator"


class Suppression(Record):
    """A recipient that gets no more messages over a channel, until the entry expires or is removed.

    The entry contains a keyed hash of the address (HMAC-SHA256 with SUPPRESSION_KEY), not the address.
    """

    #: The channel and the keyed hash, for example `email:5f0c…`.
    id = StringField(primary_key=True)
    #: email or sms.
    channel = StringField(required=True, choices=tuple(ChannelName))
    #: hard_bounce, soft_bounces, stop, or operator.
    reason = StringField(required=True, choices=tuple(SuppressionReason))
    #: Source of the entry, for example `bounce mailbox` or an operator's name.
    source = StringField(required=True, max_length=200)
    #: An operator's comment.
    note = StringField(max_length=500)
    #: Part of the address by which operators recognize it: the domain, or the first and last two digits.
    hint = StringField(required=True)
    created_at = DateTimeField(required=True)
    #: When the entry expires: SUPPRESSION_DAYS after the latest report.
    expires_at = DateTimeField(required=True)

    meta: ClassVar[dict[str, Any]] = {
        "collection": "suppressions",
        "indexes": [
            {"fields": ["expires_at"], "expireAfterSeconds": 0},
            {"fields": ["-created_at", "-id"]},
        ],
    }


class SoftBounce(Record):
    """A bounce for a temporary reason, such as a full mailbox. The entry is kept for a week."""

    #: Identifies the recipient and the delivery that bounced.
    id = StringField(primary_key=True)
    #: The channel and the keyed hash of the recipient's address, as in `suppressions`.
    recipient = StringField(required=True)
    at = DateTimeField(required=True)

    meta: ClassVar[dict[str, Any]] = {
        "collection": "soft_bounces",
        "indexes": [
            {"fields": ["at"], "expireAfterSeconds": int(SOFT_BOUNCE_WINDOW.total_seconds())},
            {"fields": ["recipient", "at"]},
        ],
    }

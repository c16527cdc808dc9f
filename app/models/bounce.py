"""Handled bounces, so that a second copy changes nothing."""

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import DateTimeField, ObjectIdField, StringField

from app.models.database import Record

#: Mail servers try for five days; a copy that comes later than this is handled as a new bounce.
_KEPT_SECONDS = 60 * 24 * 3600


class HandledBounce(Record):
    """A report of a returned email, without any address.

    Only `app.bounces.intake` writes this collection.
    """

    #: Hash that identifies the report.
    id = StringField(primary_key=True)
    #: The delivery that the report names.
    notification_id = ObjectIdField(required=True)
    received_at = DateTimeField(required=True)

    meta: ClassVar[dict[str, Any]] = {
        "collection": "handled_bounces",
        "indexes": [{"fields": ["received_at"], "expireAfterSeconds": _KEPT_SECONDS}],
    }

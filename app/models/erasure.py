"""Erased customers, as keyed hashes, so that their personal data stays erased."""

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import DateTimeField, StringField

from app.models.database import Record


class Erasure(Record):
    """An erased address, phone number, or user id, without personal data.

    Only `app.privacy.erasures` writes these. They are never deleted, because an old event may arrive at any
    time.
    """

    #: Kind and keyed hash: `email:…`, `phone:…`, or `user:…`.
    id = StringField(primary_key=True)
    #: Events from before this time are redacted when they are processed.
    erased_at = DateTimeField(required=True)

    meta: ClassVar[dict[str, Any]] = {"collection": "erasures"}

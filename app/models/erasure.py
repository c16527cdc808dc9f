"""Erased customers, as keyed hashes, so that their personal data stays erased."""

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import DateTimeField, StringField

from app.models.database import Record


class Erasure(Record):
    """An erased address, phone number, or user id, without personal data.

    Only `app.privacy.erasures` writes this collection. Erasures are never deleted, because an old event may
    arrive at any time.
    """

    #: Kind and keyed hash: `email:…`, `phone:…`, or `user:…`.
    id = StringField(primary_key=True)
    #: Workers redact events with an earlier timestamp when they process them.
    erased_at = DateTimeField(required=True)

    meta: ClassVar[dict[str, Any]] = {"collection": "erasures"}

"""API keys and their scopes. Only hashes of tokens are stored."""

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import DateTimeField, ListField, StringField

from app.models.database import Record


class ApiKey(Record):
    """An API key, identified by its public id (`key_…`)."""

    id = StringField(primary_key=True)
    name = StringField(required=True, max_length=100)
    #: SHA-256 of the whole token. It holds 256 random bits: a slow hash would add nothing.
    token_hash = StringField(required=True)
    scopes = ListField(StringField(), required=True)
    created_at = DateTimeField(required=True)
    revoked_at = DateTimeField()

    meta: ClassVar[dict[str, Any]] = {"collection": "api_keys"}

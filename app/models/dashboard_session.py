"""Sessions of the dashboard, stored so that the server can end them."""

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import DateTimeField, StringField

from app.models.database import Record

#: Seconds that a sign-in is valid: a working day.
SESSION_SECONDS = 8 * 3600


class DashboardSession(Record):
    """A valid session of the dashboard. Signing out or revoking the API key deletes it."""

    #: SHA-256 of the token in the browser's cookie.
    id = StringField(primary_key=True)
    #: The API key that signed in.
    key_id = StringField(required=True)
    created_at = DateTimeField(required=True)

    meta: ClassVar[dict[str, Any]] = {
        "collection": "dashboard_sessions",
        "indexes": [{"fields": ["created_at"], "expireAfterSeconds": SESSION_SECONDS}, "key_id"],
    }

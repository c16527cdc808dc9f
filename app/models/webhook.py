"""Handled webhook deliveries, so that repeated ones are skipped."""

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import DateTimeField, StringField

from app.models.database import Record

#: Stripe retries the delivery of an event for three days: https://docs.stripe.com/webhooks#automatic-retries
_KEPT_SECONDS = 14 * 24 * 3600


class WebhookDelivery(Record):
    """A webhook event of the gateway (`evt_…`) that was handled."""

    id = StringField(primary_key=True)
    type = StringField(required=True)
    received_at = DateTimeField(required=True)

    meta: ClassVar[dict[str, Any]] = {
        "collection": "webhook_deliveries",
        "indexes": [{"fields": ["received_at"], "expireAfterSeconds": _KEPT_SECONDS}],
    }

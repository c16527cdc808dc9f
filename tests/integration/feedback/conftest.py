"""Accepted deliveries, and the settings of a deployment that sends SMS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app import models
from app.clock import utcnow
from app.events.samples import sample
from app.models import Notification
from app.settings import Settings

MakeDelivery = Callable[..., Notification]


@pytest.fixture
def sms_settings(stored_settings: Settings) -> Settings:
    models.connect(stored_settings)
    return stored_settings.model_copy(update={"sms_provider": "console"})


@pytest.fixture
def make_delivery(sms_settings: Settings) -> MakeDelivery:
    """Store a delivery: a confirmation mail that was sent, unless fields say otherwise."""
    count = 0

    def make(event: dict[str, Any] | None = None, **fields: Any) -> Notification:
        nonlocal count
        count += 1
        whole = sample("booking.confirmed") | {"event_id": f"evt_{count}"} | (event or {})
        defaults = {
            "event_id": whole["event_id"],
            "event_type": whole["event_type"],
            "booking_id": whole["booking_id"],
            "notification_type": "email",
            "recipient": whole.get("user_email"),
            "status": "sent",
            "template": "booking_confirmation",
            "event_data": {name: value for name, value in whole.items() if value is not None},
            "created_at": utcnow(),
        }
        created = Notification(**(defaults | fields))
        created.insert()
        return created

    return make

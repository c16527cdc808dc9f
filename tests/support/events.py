"""Publish events to the broker, as any service does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from app.messaging.publisher import OutgoingEvent, make_publisher

if TYPE_CHECKING:
    from app.settings import Settings


def publish(settings: Settings, *events: dict[str, Any]) -> None:
    """Publish events, each confirmed, over one connection."""
    publisher = make_publisher(settings)
    for event in events:
        publisher.publish(OutgoingEvent(event["event_id"], event["event_type"], json.dumps(event)))
    publisher.close()

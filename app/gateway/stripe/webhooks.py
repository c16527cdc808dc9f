"""Stripe's signed webhooks: verified, then read. https://docs.stripe.com/webhooks"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import stripe

from app.gateway.events import BadWebhook, GatewayEvent
from app.gateway.stripe.events import change_of
from app.telemetry.logs import get_logger

log = get_logger(__name__)

#: Maximum age of a delivery, since an older one may be a replay attack. Stripe's default.
SIGNATURE_TOLERANCE_SECONDS = 300

#: `object` of an event of API v2, which contains only the id of its object ("thin"):
#: https://docs.stripe.com/event-destinations
_THIN_EVENT = "v2.core.event"


def read_webhook(payload: bytes, signature: str, secrets: Sequence[str]) -> GatewayEvent:
    """Verify a delivery against each of `secrets` (two while one is replaced), and read it.

    Raises:
        BadWebhook: signature mismatch, timestamp outside the tolerance, or not an event.
    """
    try:
        text = payload.decode()
        if not any(_is_signed(text, signature, secret) for secret in secrets):
            raise BadWebhook("signature mismatch, or the timestamp is outside the tolerance")
        return _read(json.loads(text))
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
        raise BadWebhook("the body is not a Stripe event") from error


def _is_signed(payload: str, signature: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(payload, signature, secret, SIGNATURE_TOLERANCE_SECONDS)
    except stripe.SignatureVerificationError:
        return False
    return True


def _read(event: Mapping[str, Any]) -> GatewayEvent:
    is_thin = event.get("object") == _THIN_EVENT
    if is_thin:
        log.warning(
            "thin webhook ignored: choose snapshot payloads for this event destination at Stripe",
            webhook_id=event["id"],
            webhook_type=event["type"],
        )
    return GatewayEvent(
        id=event["id"],
        type=event["type"],
        live=event["livemode"],
        created=_created(event["created"]),
        change=None if is_thin else change_of(event["type"], event["data"]["object"]),
    )


def _created(value: int | str) -> datetime:
    """Read a timestamp: Unix time, or ISO 8601 in API v2."""
    if isinstance(value, str):
        return datetime.fromisoformat(value).astimezone(UTC)
    return datetime.fromtimestamp(value, UTC)

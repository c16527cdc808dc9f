"""Stripe's signed webhooks: who sent it, when, and what about. https://docs.stripe.com/webhooks"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stripe

#: Seconds that a delivery may be old: a replayed one is refused. Stripe's own default.
TOLERANCE = 300


class BadSignature(Exception):
    """The delivery is not Stripe's, or too old, or no event at all."""


@dataclass(frozen=True)
class WebhookEvent:
    """A verified event.

    Attributes:
        subject: the object that it is about, as Stripe saw it then.
        created: when that was.
    """

    id: str
    type: str
    live: bool
    subject: Mapping[str, Any]
    created: datetime


def verify(payload: bytes, signature: str, secrets: Sequence[str]) -> WebhookEvent:
    """Check a delivery against each of `secrets` (two while one is replaced) and read it.

    Raises:
        BadSignature: none of them signed it within the tolerance.
    """
    for secret in secrets:
        try:
            stripe.WebhookSignature.verify_header(payload.decode(), signature, secret, TOLERANCE)
            event = json.loads(payload)
            return WebhookEvent(
                id=event["id"],
                type=event["type"],
                live=event["livemode"],
                subject=event["data"]["object"],
                created=datetime.fromtimestamp(event["created"], UTC),
            )
        except stripe.SignatureVerificationError:
            continue
        except (ValueError, OverflowError, KeyError, TypeError) as error:
            raise BadSignature("the body is no event") from error
    raise BadSignature("no secret of ours signed this, or it is too old")

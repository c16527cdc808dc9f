"""Advice on dead letters and failed messages, by their errors."""

from __future__ import annotations

import re

from app.delivery_status import DeliveryStatus

#: Part of an error → what to do. The first match applies.
_ADVICE: dict[str, str] = {
    r"record of the delivery was deleted": "The message can't be sent. Drop the dead letter.",
    r"earlier event with this event_id": "Two events share an event_id. Ask the publisher which is correct.",
    r"variable .* is missing": "The event lacks a field. Ask the publisher to send the complete event again.",
    r"\b535\b|authentication": "Fix SMTP_USERNAME and SMTP_PASSWORD, then replay.",
    r"5\.1\.[1-3]|no such user|user unknown": "The address is wrong. Ask the customer, then drop this one.",
    r"5\.7\.\d+|spam|blocked": "The server refuses the sender. Check SPF, DKIM, and FROM_EMAIL, then replay.",
    r"5\.2\.2|mailbox full|over quota": "The mailbox is full. Replay the dead letter later.",
    r"SMS is disabled": "Set SMS_PROVIDER, then replay; or drop the dead letter.",
    r"timed? ?out|connection|unavailable|not tried": "The server was unavailable. Replay when it is back.",
    r"invalid|must (not |only )?(be|have|fit|occur|begin|contain)|not (valid|an?) |unknown event_type|"
    r"missing|routing|json|bytes|this queue accepts|can't be stored|64 bits|is a Dramatiq message": (
        "The event is invalid. Ask the publisher to correct and resend it, then drop this dead letter."
    ),
}

#: The error alone may look like that of an unavailable server.
_UNCERTAIN = "Replay only if the customer may receive the message twice."

_OTHERWISE = "Fix the cause, then replay."


def advice_on(error: str | None, status: str | None = None) -> str:
    """Return what to do about an error.

    Args:
        error: the error of a dead letter or a delivery.
        status: the delivery's status; None for an event.
    """
    if status == DeliveryStatus.UNCERTAIN:
        return _UNCERTAIN
    text = error or ""
    found = (advice for pattern, advice in _ADVICE.items() if re.search(pattern, text, re.IGNORECASE))
    return next(found, _OTHERWISE)

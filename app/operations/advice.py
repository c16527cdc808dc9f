"""Advice on dead letters and failed messages, by their errors."""

from __future__ import annotations

import re

#: Part of an error → what to do. The first match applies.
_ADVICE: dict[str, str] = {
    r"record is gone": "Its record was deleted, so it can't be sent. Drop it.",
    r"known with other|another content": "Two events share an event_id. Ask the publisher which is correct.",
    r"variable .* is missing": "The event lacks a field. Ask the publisher to send it again, complete.",
    r"\b535\b|authentication": "Fix SMTP_USERNAME and SMTP_PASSWORD, then replay.",
    r"5\.1\.[1-3]|no such user|user unknown": "The address is wrong. Ask the customer, then drop it.",
    r"5\.7\.\d+|spam|blocked": "The server refuses the sender. Check SPF, DKIM, and FROM_EMAIL, then replay.",
    r"5\.2\.2|mailbox full|over quota": "The mailbox is full. Replay it later.",
    r"may have (arrived|been)|reply never came": "Replay it only if the customer may get it twice.",
    r"SMS is turned off": "Set SMS_PROVIDER, then replay; or drop it.",
    r"timed? ?out|connection|unavailable|not tried": "The server was down. Replay it once it works.",
    r"invalid|must be|not a |missing|routing|json|bytes|unknown actor": (
        "The event is invalid. Ask the publisher to send it again, corrected, then drop this one."
    ),
}

_OTHERWISE = "Fix the cause, then replay."


def advice_on(error: str | None) -> str:
    """Return what to do about an error."""
    text = error or ""
    found = (advice for pattern, advice in _ADVICE.items() if re.search(pattern, text, re.IGNORECASE))
    return next(found, _OTHERWISE)

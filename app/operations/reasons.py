"""Group errors by reason: the text without the recipient and the message."""

from __future__ import annotations

import re

from app.masking import HIDDEN, mask_text

#: Maximum characters of a reason.
_LENGTH = 160

#: Parts that differ between errors with the same reason: addresses, ids, long numbers, and times.
_PARTICULAR = re.compile(
    r"<[^<>]*>|[^\s<>]*@[^\s<>]*"
    r"|\b(?:TXN|REF|evt|pi|ch|re|pm|SM|MM)[-_][\w-]{3,}|\b[0-9a-f]{12,}\b|(?<![\w.])\d{6,}\b"
    r"|\b[0-9A-Za-z._-]*\d[0-9A-Za-z._-]{11,}\b"
    r"|\b\d+(?:\.\d+)? ?(?:s|seconds)\b",
    re.IGNORECASE,
)

#: A phone number, masked.
_NUMBER_ENDS = re.compile(rf"{HIDDEN}\d+")

NO_REASON = "no reason recorded"


def reason_of(error: object) -> str:
    """Return the common part of errors of one kind, without personal data."""
    if not isinstance(error, str) or not error.strip():
        return NO_REASON
    # A masked address or number still differs from one recipient to the next.
    text = _NUMBER_ENDS.sub(HIDDEN, mask_text(_PARTICULAR.sub(HIDDEN, error)))
    return " ".join(text.split())[:_LENGTH]

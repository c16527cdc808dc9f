"""Remove personal data from records. Ids, amounts, states, and the show remain."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.payments.changes import ERASED

#: Fields of an event that are kept. Others may contain personal data, or grant access to whoever has them.
KEPT_FIELDS = frozenset(
    {
        "event_id", "event_type", "timestamp", "schema_version", "user_id", "booking_id", "transaction_id",
        "original_transaction_id", "refund_transaction_id", "dispute_id", "amount", "total_amount",
        "refund_amount", "currency", "payment_method", "processed_at", "error_code", "retry_possible",
        # The show, which later events of the booking are compared with.
        "movie_title", "showtime", "timezone", "seats", "cinema_name", "screen",
    }
)  # fmt: skip

#: The codes at the beginning of a server's reply (RFC 5321, RFC 3463).
_REPLY_CODES = re.compile(r"[2-5]\d\d(?:[ -][245]\.\d{1,3}\.\d{1,3})?\b")


def redacted(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event without personal data."""
    return {name: value for name, value in event.items() if name in KEPT_FIELDS}


def redacted_reply(text: str | None) -> str | None:
    """Return only the codes of a server's reply, which may quote an address; `ERASED` without codes."""
    if not text:
        return text
    codes = _REPLY_CODES.match(text)
    return f"{codes[0]} ({ERASED})" if codes else ERASED

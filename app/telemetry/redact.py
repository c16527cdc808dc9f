"""Remove card data and secrets from logs and spans.

This is the last line of defense: the API refuses card numbers before anything is logged. What still reaches a
logger (an exception's text, a dependency's debug line) is masked here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.card_numbers import holds_card_number, mask_card_numbers

_REDACTED = "[redacted]"

#: Parts of a key's name that mark its value as secret, whatever it looks like.
_SECRET_KEYS = re.compile(
    r"card_?number|^number$|cvv|cvc|security_code|expiry|password|passwd|secret|authorization|api_?key"
    r"|payment_token|credential|cookie",
    re.IGNORECASE,
)

_SECRET_VALUES = (
    (re.compile(r"\b(?:sk|rk|pk)_(?:live|test)_\w+"), "[key]"),
    (re.compile(r"\bwhsec_\w+"), "[key]"),
    (re.compile(r"\bpi_\w+_secret_\w+"), "[client secret]"),
    (re.compile(r"\bBearer\s+[\w.~+/=-]+", re.IGNORECASE), "Bearer [key]"),
    # The password in amqp://user:password@host
    (re.compile(r"(?<=://)([^\s:/@]*):[^\s@/]+@"), r"\1:[password]@"),
)


def redact_text(text: str) -> str:
    """Replace card numbers, keys and passwords inside `text`."""
    for pattern, replacement in _SECRET_VALUES:
        text = pattern.sub(replacement, text)
    return mask_card_numbers(text)


def redact(value: Any, depth: int = 0) -> Any:
    """Return a copy of `value` that is safe to log.

    Card numbers and secrets are masked, card numbers in names and integers too. The value of a name that
    marks a secret is replaced as a whole.
    """
    if isinstance(value, str):
        return redact_text(value)
    if depth > 6:
        return _REDACTED
    if isinstance(value, Mapping):
        return {
            mask_card_numbers(str(key)): _REDACTED
            if _SECRET_KEYS.search(str(key)) and item
            else redact(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth + 1) for item in value]
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "replace"))
    if isinstance(value, int) and holds_card_number(str(value)):
        return mask_card_numbers(str(value))
    return value

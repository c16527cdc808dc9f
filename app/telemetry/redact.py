"""Keeps card data and secrets out of the logs: the last line of defence, not the first.

Nothing should ever hand a card number to a logger; when something does (an exception's text, a dependency's
debug line), it ends here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.luhn import luhn_valid

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

# ISO/IEC 7812: 13 to 19 digits, as people group them. Payment networks begin with 2 to 6, which leaves
# millisecond timestamps in ids (1 700 000 000 000 …) readable.
_PAN = re.compile(r"(?<!\d)[2-6](?:[ -]?\d){12,18}(?!\d)")


def _pan(match: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", match[0])
    return "[card number]" if luhn_valid(digits) else match[0]


def holds_card_number(text: str) -> bool:
    """Whether something in `text` looks like a card number."""
    return _PAN.sub(_pan, text) != text


def redact_text(text: str) -> str:
    """Replace card numbers, keys and passwords inside `text`."""
    for pattern, replacement in _SECRET_VALUES:
        text = pattern.sub(replacement, text)
    return _PAN.sub(_pan, text)


def redact(value: Any, depth: int = 0) -> Any:
    """A copy of `value` safe to log: strings cleaned, the values of secret-sounding keys replaced."""
    if isinstance(value, str):
        return redact_text(value)
    if depth > 6:
        return _REDACTED
    if isinstance(value, Mapping):
        return {
            key: _REDACTED if _SECRET_KEYS.search(str(key)) and item else redact(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth + 1) for item in value]
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "replace"))
    return value

"""Remove card data and secrets from logs and spans.

This is the last line of defense: the API refuses card numbers before anything is logged. This module masks
what still reaches a logger, such as exception texts or dependencies' debug lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from app.card_numbers import holds_card_number, mask_card_numbers

_REDACTED = "[redacted]"

#: Parts of a key's name that mark its value as secret.
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
#: What each of `_SECRET_VALUES` holds. Few texts hold any of it.
_MAY_BE_SECRET = re.compile(r"k_(?:live|test)_|whsec_|_secret_|bearer|://", re.IGNORECASE)


@lru_cache(maxsize=1024)
def _names_secret(name: str) -> bool:
    """Return whether the value of a field with that name is secret."""
    return _SECRET_KEYS.search(name) is not None


def redact_text(text: str) -> str:
    """Replace card numbers, keys and passwords inside `text`."""
    if _MAY_BE_SECRET.search(text):
        for pattern, replacement in _SECRET_VALUES:
            text = pattern.sub(replacement, text)
    return mask_card_numbers(text)


def redact(value: Any, depth: int = 0) -> Any:
    """Return a copy of `value` that is safe to log.

    Masks card numbers and secrets, also card numbers in names and integers. Replaces the whole value if its
    name marks a secret.
    """
    if isinstance(value, str):
        return redact_text(value)
    if depth > 6:
        return _REDACTED
    if isinstance(value, Mapping):
        return {
            mask_card_numbers(str(key)): _REDACTED
            if item and _names_secret(str(key))
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

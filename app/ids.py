"""Ids: unguessable, not sequential, and with a prefix that shows their type."""

from __future__ import annotations

import secrets
import unicodedata


def new_id(prefix: str) -> str:
    """Return a new id: `prefix` and 128 random bits in hexadecimal, for example `TXN-5f0c…`."""
    return prefix + secrets.token_hex(16)


def normalized_id(text: str) -> str:
    """Return the form in which payments store and compare a caller's ids: NFC."""
    return unicodedata.normalize("NFC", text)

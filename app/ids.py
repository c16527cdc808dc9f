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


def forms_of(text: str) -> list[str]:
    """Return the ways to write an id in Unicode: as given, composed as payments have it, and decomposed.

    Events keep the ids of their publishers as they are.
    """
    return list(dict.fromkeys((text, normalized_id(text), unicodedata.normalize("NFD", text))))

"""Identifiers: unguessable and not sequential, with a prefix that says what they name."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """A new identifier: `prefix` and 128 random bits in hexadecimal, as in `TXN-5f0c…`."""
    return prefix + secrets.token_hex(16)

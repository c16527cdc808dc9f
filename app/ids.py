"""Ids: unguessable, not sequential, and with a prefix that shows their type."""

from __future__ import annotations

import secrets


def new_id(prefix: str) -> str:
    """Return a new id: `prefix` and 128 random bits in hexadecimal, for example `TXN-5f0c…`."""
    return prefix + secrets.token_hex(16)

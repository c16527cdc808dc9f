"""The check digit of card numbers."""

from __future__ import annotations


def is_luhn_valid(digits: str) -> bool:
    """Return whether `digits` passes the Luhn check (ISO/IEC 7812-1, annex B)."""
    total = 0
    for position, char in enumerate(reversed(digits)):
        value = int(char)
        if position % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0

"""Values in the examples of the API's documentation."""

from __future__ import annotations

from typing import Any

TRANSACTION_ID = "TXN-5f0c9a7e31d24b86a1f3e9c0d7b2486a"
BOOKING_ID = "BOOK-123"


def path_parameter(name: str, example: str) -> dict[str, Any]:
    """Return the documentation of a path parameter, with an example that /docs fills in."""
    return {"name": name, "in": "path", "required": True, "example": example}

"""Stripe's error answers: https://docs.stripe.com/api/errors"""

from __future__ import annotations

from typing import Any


class StripeFault(Exception):
    """An answer that is an error.

    Args:
        status: the HTTP status.
        message: for developers.
        kind: Stripe's `type`.
        fields: further members, as code, param or payment_intent.
    """

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"type": kind, "message": message, **fields}}


def missing(kind: str, record_id: str) -> StripeFault:
    """No such object."""
    return StripeFault(404, f"No such {kind}: '{record_id}'", code="resource_missing", param="id")


def required(params: dict[str, Any], name: str) -> Any:
    """A parameter that must be there."""
    if name not in params:
        raise StripeFault(400, f"Missing required param: {name}.", code="parameter_missing", param=name)
    return params[name]


def positive_integer(params: dict[str, Any], name: str) -> int:
    """A parameter that must be a positive integer."""
    text = str(required(params, name))
    if not text.isdecimal() or int(text) < 1:
        raise StripeFault(
            400, f"Invalid positive integer: {name}", code="parameter_invalid_integer", param=name
        )
    return int(text)

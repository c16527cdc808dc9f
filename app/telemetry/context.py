"""The ids that every log line and every step of the audit trail carry while a request is handled."""

from __future__ import annotations

from structlog import contextvars


def begin_request(request_id: str) -> None:
    """Everything that this thread does from now on belongs to the request."""
    contextvars.bind_contextvars(request_id=request_id)


def end_request() -> None:
    """Nothing more belongs to it."""
    contextvars.clear_contextvars()


def current_request_id() -> str | None:
    """The id of the HTTP request in hand, None outside of one."""
    found: str | None = contextvars.get_contextvars().get("request_id")
    return found

"""The current request id, for log lines and the audit trail."""

from __future__ import annotations

from structlog import contextvars


def begin_request(request_id: str) -> None:
    """Set the request id of this thread."""
    contextvars.bind_contextvars(request_id=request_id)


def end_request() -> None:
    """Clear the request id of this thread."""
    contextvars.clear_contextvars()


def current_request_id() -> str | None:
    """Return the id of the current HTTP request, or None outside of one."""
    found: str | None = contextvars.get_contextvars().get("request_id")
    return found

"""Structured logs: one JSON object for each line, on stderr.

docs/logs.md has every field. What is bound with `structlog.contextvars.bind_contextvars` goes on every line
logged in that context. Lines of other libraries (gunicorn, dramatiq, pika) take the same shape.
"""

from __future__ import annotations

import json
import logging
import logging.config
import re
import sys
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from app.telemetry import tracing
from app.telemetry.redact import redact

Service = Literal["payment-service", "notification-service", "movieapp-cli"]

#: Libraries whose chatter is only of use when debugging them.
_LIBRARY_LEVELS = {
    "pika": logging.CRITICAL,
    "urllib3": logging.WARNING,
    "pymongo": logging.WARNING,
    "stripe": logging.WARNING,
    "twilio": logging.WARNING,
    "redis": logging.WARNING,
    "gunicorn.error": logging.INFO,
    # A retried or failed delivery has its own line.
    "dramatiq.middleware.retries": logging.WARNING,
    "dramatiq.worker.WorkerThread": logging.WARNING,
}


def _drop_unknown(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: value for name, value in event.items() if value is not None}


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["trace_id"] = tracing.trace_id()
    return event


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    cleaned: EventDict = redact(event)
    return cleaned


#: Characters that JSON lets stand and that a terminal or a log viewer obeys: DEL and C1 controls, line and
#: paragraph separators, zero-width and directional characters, lone surrogates.
_OBEYED = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def _dumps(event: EventDict, **_: Any) -> str:
    line = json.dumps(event, default=str, ensure_ascii=False)
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def _without_arguments(logged: Any) -> Any:
    return f"{logged.actor_name} {logged.message_id}" if hasattr(logged, "message_id") else logged


def _name_messages(record: logging.LogRecord) -> bool:
    """Log Dramatiq's messages by name: their arguments are events, with personal data."""
    if isinstance(record.args, tuple):
        record.args = tuple(map(_without_arguments, record.args))
    return True


def _drop_arguments(record: logging.LogRecord) -> bool:
    """Drop the line in which each of Dramatiq's actors shows what it was called with: a whole event."""
    return not (isinstance(record.msg, str) and record.msg.startswith("Received args="))


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`: it may have been replaced, and the old one closed."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _value: TextIO) -> None:
        """The current `sys.stderr`; the base class would keep the first one."""


def configure(service: Service, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Configure every logger of this process to write JSON lines of `service` to `stream` (stderr).

    Args:
        service: value of the field `service`.
        level: lowest level logged.
        stream: where the lines go; looked up at each call, so that a replaced `sys.stderr` is honoured.
    """

    def add_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_service,
        _add_trace,
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        _drop_unknown,
        _redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream) if stream else _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
            processors=[
                *shared,
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_dumps),
            ],
        )
    )
    handler.addFilter(_drop_arguments)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name, quiet in _LIBRARY_LEVELS.items():
        logging.getLogger(name).setLevel(quiet)
    logging.getLogger("dramatiq.worker.WorkerThread").addFilter(_name_messages)
    for name in ("gunicorn", "gunicorn.error", "gunicorn.access", "dramatiq"):
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = True


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger called `name`. Its methods take the message, and fields as keywords."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger

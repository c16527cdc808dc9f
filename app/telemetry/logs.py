"""Structured logs: one JSON object for each line, on stderr.

docs/logs.md has every field. Fields bound with `structlog.contextvars.bind_contextvars` appear on every line
of that context. Lines of other libraries (gunicorn, dramatiq, pika) have the same form.
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

#: Libraries whose messages are useful only for debugging them.
_LIBRARY_LEVELS = {
    "pika": logging.CRITICAL,
    "urllib3": logging.WARNING,
    "pymongo": logging.WARNING,
    "stripe": logging.WARNING,
    "twilio": logging.WARNING,
    "redis": logging.WARNING,
    "gunicorn.error": logging.INFO,
    # A retried or failed delivery is logged separately.
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


#: Characters that JSON does not escape and that a terminal or log viewer interprets: DEL and C1 controls,
#: line and paragraph separators, zero-width and directional characters, lone surrogates.
_OBEYED = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


_encoder = json.JSONEncoder(default=str, ensure_ascii=False)


def _dumps(event: EventDict, **_: Any) -> str:
    line = _encoder.encode(event)
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def _without_arguments(logged: Any) -> Any:
    return f"{logged.actor_name} {logged.message_id}" if hasattr(logged, "message_id") else logged


def _name_messages(record: logging.LogRecord) -> bool:
    """Log Dramatiq messages by name only, because their arguments contain personal data."""
    if isinstance(record.args, tuple):
        record.args = tuple(map(_without_arguments, record.args))
    return True


def _drop_arguments(record: logging.LogRecord) -> bool:
    """Drop Dramatiq's log lines that contain an actor's arguments, which are whole events."""
    return not (isinstance(record.msg, str) and record.msg.startswith("Received args="))


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Handler that writes to the current `sys.stderr`, because the original may have been closed."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _value: TextIO) -> None:
        """Return the current `sys.stderr`. The base class would keep the first one."""


def configure(service: Service, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Configure every logger of this process to write JSON lines of `service` to `stream` (stderr).

    Args:
        service: value of the field `service`.
        level: lowest level logged.
        stream: where the lines go; looked up at each call, so that a replaced `sys.stderr` is used.
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
    # Nothing shows the caller, thread, and process that Python would look up for each line:
    # https://docs.python.org/3/howto/logging.html#optimization
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
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
    """Return the logger called `name`. Its methods take a message and keyword fields."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger

"""gunicorn's configuration for `movieapp serve`. Threads: a payment mostly waits for the gateway."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger

from app.settings import load_settings
from app.telemetry import logs

_settings = load_settings()
logs.configure("payment-service", _settings.log_level)


class JSONLogger(Logger):  # type: ignore[misc] # gunicorn ships no types
    """gunicorn's own lines, sent through this project's logging."""

    def setup(self, cfg: Any) -> None:
        self.error_log.propagate = True


logger_class = JSONLogger
accesslog = None
worker_class = "gthread"
timeout = _settings.web_timeout
#: A stopping worker lets the payments in hand finish.
graceful_timeout = int(_settings.gateway_time_budget) + 1
keepalive = 5
#: No remote control of the server: signals do.
control_socket_disable = True

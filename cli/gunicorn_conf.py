"""gunicorn's configuration, for `movieapp serve` and for plain gunicorn (`gunicorn.conf.py`).

Threads: a payment mostly waits for the gateway. `--preload` may be added: no connection is made, and no
thread started, before the fork.
"""

from __future__ import annotations

import gc
import resource
import sys
from typing import Any

from gunicorn.glogging import Logger

from app.settings import SettingsError, load_settings
from app.telemetry import logs, multiprocess
from cli.serve import BIND, WORKERS, listeners, why_unusable

try:
    _settings = load_settings()
    _settings.require_api_secrets()
except SettingsError as error:
    sys.exit(f"movieapp: {error}")
logs.configure("payment-service", _settings.log_level)
log = logs.get_logger(__name__)


class JSONLogger(Logger):  # type: ignore[misc] # gunicorn ships no types
    """gunicorn's logger, through this project's logging."""

    def setup(self, cfg: Any) -> None:
        self.error_log.propagate = True


#: Each connection is a file descriptor: the soft limit is often 1 024.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_FILES = 8_192
if _soft < _FILES:
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES if _hard < 0 else min(_FILES, _hard), _hard))

_metrics_directory = multiprocess.begin()


def post_worker_init(_worker: Any) -> None:
    """gunicorn's hook: a worker process has loaded the application.

    What is loaded by now lives as long as the process. Frozen, it does not lengthen garbage collection
    pauses: a full collection of about 100,000 objects stops every thread for about 50 ms.
    """
    gc.collect()
    gc.freeze()


def child_exit(_server: Any, worker: Any) -> None:
    """gunicorn's hook: a worker process has ended."""
    multiprocess.process_ended(worker.pid)


def on_exit(_server: Any) -> None:
    """gunicorn's hook: the server ends."""
    multiprocess.end(_metrics_directory)


if _settings.metrics_bind != "none" and (_reason := why_unusable(_settings.metrics_bind)):
    log.warning(
        "no metrics listener: METRICS_BIND can't be used", metrics_bind=_settings.metrics_bind, reason=_reason
    )

logger_class = JSONLogger
accesslog = None
bind = listeners(BIND, _settings)
workers = WORKERS
worker_class = "cli.gunicorn_worker.BufferingWorker"
worker_connections = 2_048
#: Files are sent by the worker too, which limits the time that a client may take.
sendfile = False
threads = _settings.web_threads
timeout = _settings.web_timeout
#: A stopping worker lets the payments in hand finish.
graceful_timeout = int(_settings.gateway_time_budget) + 1
keepalive = _settings.web_keepalive
#: No remote control of the server: signals do.
control_socket_disable = True

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
from cli.serve import BIND, WORKERS, listeners, unusable_reason

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


#: Each connection uses a file descriptor, and the soft limit is often 1,024.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
_MIN_OPEN_FILES = 8_192
if _soft < _MIN_OPEN_FILES:
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (_MIN_OPEN_FILES if _hard < 0 else min(_MIN_OPEN_FILES, _hard), _hard)
    )

_metrics_directory = multiprocess.begin()


def post_worker_init(_worker: Any) -> None:
    """Freeze loaded objects after a worker process has loaded the application (gunicorn hook).

    They live as long as the process. Freezing them shortens garbage collection: a full collection of about
    100,000 objects stops every thread for about 50 ms.
    """
    gc.collect()
    gc.freeze()


def child_exit(_server: Any, worker: Any) -> None:
    """Remove the gauges of a worker process that ended (gunicorn hook)."""
    multiprocess.process_ended(worker.pid)


def on_exit(_server: Any) -> None:
    """Remove the metrics directory when the server ends (gunicorn hook)."""
    multiprocess.end(_metrics_directory)


if _settings.metrics_bind != "none" and (_reason := unusable_reason(_settings.metrics_bind)):
    log.warning(
        "no metrics listener: METRICS_BIND can't be used", metrics_bind=_settings.metrics_bind, reason=_reason
    )

logger_class = JSONLogger
accesslog = None
bind = listeners(BIND, _settings)
workers = WORKERS
worker_class = "cli.gunicorn_worker.BufferingWorker"
worker_connections = 2_048
#: The worker sends files too, so that it can limit the time for a client.
sendfile = False
threads = _settings.web_threads
timeout = _settings.web_timeout
#: Time for a stopping worker to finish current payments.
graceful_timeout = int(_settings.gateway_time_budget) + 1
keepalive = _settings.web_keepalive
#: No control socket; signals are enough.
control_socket_disable = True

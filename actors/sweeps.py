"""Work that comes round by itself, in a thread of each worker process.

Every sweep is safe to run in many workers at once: what it touches it claims.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from dramatiq import Middleware

from app.events import outbox
from app.messaging.publisher import make_publisher
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from dramatiq import Broker, Worker

    from app.messaging.publisher import Publisher
    from app.settings import Settings

log = get_logger(__name__)

#: How long the API process that made an event is left to publish it.
_OUTBOX_GRACE = timedelta(seconds=3)

#: Seconds between two rounds.
_INTERVAL = 2.0


@dataclass(frozen=True)
class Sweep:
    """A named piece of periodic work."""

    name: str
    run: Callable[[Publisher], object]


SWEEPS = (Sweep("outbox relay", lambda publisher: outbox.sweep(publisher, _OUTBOX_GRACE)),)


class Sweeps(Middleware):
    """Runs the sweeps beside a worker, from its boot to its shutdown."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeps", daemon=True)

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        if self._settings.worker_heartbeat_file:
            self._settings.worker_heartbeat_file.touch()
        self._thread.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        publisher = make_publisher(self._settings)
        heartbeat = self._settings.worker_heartbeat_file
        while not self._stop.wait(_INTERVAL):
            if heartbeat:
                heartbeat.touch()
            for sweep in SWEEPS:
                try:
                    sweep.run(publisher)
                except Exception as error:  # a sweep that fails must come round again
                    log.warning("sweep failed", sweep=sweep.name, reason=f"{type(error).__name__}: {error}")
            publisher.keep_alive()
        publisher.close()

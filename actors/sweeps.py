"""Work that comes round by itself, in a thread of each worker process.

Every sweep is safe to run in many workers at once: what it touches it claims.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from dramatiq import Middleware

from app.events import outbox
from app.gateway import StripeGateway
from app.messaging.publisher import make_publisher
from app.payments.service import Payments
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from dramatiq import Broker, Worker

    from app.models import OutboxEntry
    from app.settings import Settings

log = get_logger(__name__)

#: How long the API process that made an event is left to publish it.
_OUTBOX_GRACE = timedelta(seconds=3)

#: Seconds between two rounds.
_INTERVAL = 2.0


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
        payments = Payments(self._settings, StripeGateway(self._settings), _leave_to_the_outbox)
        sweeps: dict[str, Callable[[], object]] = {
            "payment recovery": payments.recover_due,
            "outbox relay": lambda: outbox.sweep(publisher, _OUTBOX_GRACE),
        }
        heartbeat = self._settings.worker_heartbeat_file
        while not self._stop.wait(_INTERVAL):
            if heartbeat:
                heartbeat.touch()
            for name, sweep in sweeps.items():
                try:
                    sweep()
                except Exception as error:  # a sweep that fails must come round again
                    log.warning("sweep failed", sweep=name, reason=f"{type(error).__name__}: {error}")
            publisher.keep_alive()
        publisher.close()


def _leave_to_the_outbox(transaction_id: str, entry: OutboxEntry) -> None:
    """What recovery decides is announced by the outbox relay, in the same thread."""

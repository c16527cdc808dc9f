"""Work that comes round by itself, in threads of each worker process.

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
    """Runs the sweeps beside a worker, from its boot to its shutdown.

    Each has a thread of its own: a gateway that answers slowly holds up no event.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        runs = {"outbox relay": self._relay_outbox, "payment recovery": self._recover_payments}
        self._threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in runs.items()]

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self._beat()
        for thread in self._threads:
            thread.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def _beat(self) -> None:
        if self._settings.worker_heartbeat_file:
            self._settings.worker_heartbeat_file.touch()

    def _relay_outbox(self) -> None:
        # The connection belongs to this thread.
        publisher = make_publisher(self._settings)

        def round_() -> None:
            self._beat()
            outbox.sweep(publisher, _OUTBOX_GRACE)
            publisher.keep_alive()

        self._repeat(round_)
        publisher.close()

    def _recover_payments(self) -> None:
        payments = Payments(self._settings, StripeGateway(self._settings), _leave_to_the_outbox)
        self._repeat(payments.recover_due)

    def _repeat(self, sweep: Callable[[], object]) -> None:
        while not self._stop.wait(_INTERVAL):
            try:
                sweep()
            except Exception as error:  # a sweep that fails must come round again
                name = threading.current_thread().name
                log.warning("sweep failed", sweep=name, reason=f"{type(error).__name__}: {error}")


def _leave_to_the_outbox(transaction_id: str, entry: OutboxEntry) -> None:
    """What recovery decides, the other sweep announces."""

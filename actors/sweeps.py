"""Periodic work, in threads of each worker process.

Every sweep is safe in many workers at once, because it claims its records.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from dramatiq import Middleware

from actors import deliveries
from app import models
from app.bounces import mailbox
from app.messaging.dispatch import Dispatch
from app.messaging.publisher import make_publisher
from app.messaging.topology import Topology
from app.payments.bulk.execute import carry_out_next
from app.payments.bulk.store import RunStore
from app.payments.ledger.mongo import MongoLedger
from app.payments.outbox import Relay
from app.payments.recovery import recover_due
from app.payments.service import make_payments
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from dramatiq import Broker, Worker

    from app.settings import Settings

log = get_logger(__name__)

#: Seconds within which all sweeps must stop.
_JOIN_SECONDS = 3.0

#: Opens a sweep's resources in its thread, and yields the function that runs one round.
Sweep = Callable[[], AbstractContextManager[Callable[[], object]]]


class Sweeps(Middleware):
    """Middleware that runs the sweeps in a worker process, from boot to shutdown.

    Each sweep has its own thread, so that a slow gateway delays no event.

    Args:
        settings: settings of the worker.
        remind: queues the due reminders; None if reminders are disabled.
        catch_up: records the outcomes that an outage kept this process from recording.
    """

    def __init__(
        self, settings: Settings, remind: Callable[[], None] | None, catch_up: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._catch_up = catch_up
        self._broker: Broker | None = None
        self._worker: Worker | None = None
        self._stop = threading.Event()
        self._relay = Relay(MongoLedger(), lambda: make_publisher(settings))
        #: Name → the sweep, and the seconds between two rounds.
        sweeps: dict[str, tuple[Sweep, float]] = {
            "indexes": (self._indexes, 5),
            "payment recovery": (self._payment_recovery, 2),
            "bulk refunds": (self._bulk_refunds, 2),
            "overdue deliveries": (self._overdue_deliveries, 5),
            "retention": (self._retention, 60),
        }
        if settings.bounce_mailbox_url.get_secret_value():
            sweeps["bounce mailbox"] = (self._bounce_mailbox, mailbox.POLL_SECONDS)
        if remind:
            sweeps["reminders"] = (lambda: nullcontext(remind), 5)
        if settings.worker_heartbeat_file:
            sweeps["heartbeat"] = (partial(self._heartbeat, settings.worker_heartbeat_file), 2)
        self._threads = [
            threading.Thread(target=self._run, args=(sweep, interval), name=name, daemon=True)
            for name, (sweep, interval) in sweeps.items()
        ]

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        self._broker, self._worker = broker, worker
        self._relay.start()
        for thread in self._threads:
            thread.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self._stop.set()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._relay.close(max(0.0, deadline - time.monotonic()))

    def _run(self, sweep: Sweep, interval: float) -> None:
        with sweep() as round_:
            while not self._stop.is_set():
                try:
                    round_()
                except Exception as error:  # a failed sweep must run again
                    name = threading.current_thread().name
                    log.warning("sweep failed", sweep=name, reason=f"{type(error).__name__}: {error}")
                self._stop.wait(interval)

    @contextmanager
    def _heartbeat(self, file: Path) -> Iterator[Callable[[], object]]:
        # The consumers connect in their own threads and declare their queues first. Before that, RabbitMQ
        # would drop an event, because it has no queue.
        assert self._worker  # noqa: S101 - for the type checker
        consumers = self._worker.consumers
        while not (all(thread.consumer for thread in consumers.values()) or self._stop.wait(0.05)):
            pass
        yield file.touch

    @contextmanager
    def _indexes(self) -> Iterator[Callable[[], object]]:
        """Build missing indexes once MongoDB is available."""
        done = False

        def create() -> None:
            nonlocal done
            if not done:
                models.create_indexes()
                done = True

        yield create

    @contextmanager
    def _payment_recovery(self) -> Iterator[Callable[[], object]]:
        payments = make_payments(self._settings, self._relay.submit)
        yield lambda: recover_due(payments)

    @contextmanager
    def _bulk_refunds(self) -> Iterator[Callable[[], object]]:
        payments, runs = make_payments(self._settings, self._relay.submit), RunStore()
        yield lambda: carry_out_next(payments, runs, self._stop)

    @contextmanager
    def _overdue_deliveries(self) -> Iterator[Callable[[], object]]:
        assert self._broker  # noqa: S101 - for the type checker
        dispatch = Dispatch(self._broker, Topology.of(self._settings))

        def requeue() -> None:
            self._catch_up()
            if count := deliveries.requeue_overdue(dispatch):
                log.warning("overdue deliveries queued again", count=count)

        yield requeue

    @contextmanager
    def _bounce_mailbox(self) -> Iterator[Callable[[], object]]:
        store = redis.Redis.from_url(
            self._settings.redis_url, socket_connect_timeout=0.5, socket_timeout=0.5, decode_responses=True
        )
        claim = mailbox.RedisClaim(store, self._settings.namespace)
        with closing(store):
            yield lambda: mailbox.poll(self._settings, claim, self._stop.is_set)

    @contextmanager
    def _retention(self) -> Iterator[Callable[[], object]]:
        kept = timedelta(days=self._settings.log_retention_days)

        def forget() -> None:
            count = 0
            while not self._stop.is_set() and (batch := deliveries.forget(kept)):
                count += batch
            if count:
                log.info("old deliveries deleted", count=count)

        yield forget

"""The worker's metrics of messages, and the process that serves /metrics for all workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.broker import MessageProxy
from dramatiq.middleware import Middleware
from prometheus_client import start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.errors import ServiceUnavailable
from app.messaging.depths import queue_depths
from app.messaging.queues import QUEUES
from app.settings import load_settings
from app.telemetry import logs, metrics

if TYPE_CHECKING:
    from app.settings import Settings

log = logs.get_logger(__name__)


class MessageMetrics(Middleware):
    """Measures how long each message takes.

    Args:
        namespace: namespace of the queues, removed from labels, so that they are equal in every deployment.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        #: Keyed by object identity, because an event published twice gives two messages with one id.
        self._started: dict[int, float] = {}

    def before_process_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        self._started[id(message)] = time.monotonic()
        metrics.IN_PROGRESS.labels(self._queue(message)).inc()

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        outcome = "done" if exception is None else "dead" if message.failed else "again"
        queue = self._queue(message)
        seconds = time.monotonic() - self._started.pop(id(message))
        metrics.MESSAGES.labels(queue, outcome).observe(seconds)
        metrics.IN_PROGRESS.labels(queue).dec()

    def _queue(self, message: MessageProxy) -> str:
        name = str(message.queue_name).removeprefix(self._namespace).removesuffix(".DQ")
        return metrics.known(name, QUEUES)


class QueueDepths(Collector):
    """Queue depths, read from the broker at each scrape."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "movieapp_queue_messages", "Messages in a queue, by state", labels=("queue", "state")
        )
        try:
            depths = queue_depths(self._settings)
        except ServiceUnavailable:
            return  # the graph shows a gap; other metrics are still exported
        for depth in depths:
            for state in ("ready", "delayed", "dead", "unacked"):
                count = getattr(depth, state)
                if count is not None:
                    family.add_metric((depth.queue, state), count)
        yield family


def serve() -> int:
    """Serve /metrics of all processes of a worker, in a separate process, until it is stopped.

    If the port is in use, for example by another worker, an error is logged and only the metrics are missing.

    Returns:
        The exit code.
    """
    settings = load_settings()
    logs.configure("notification-service", settings.log_level)
    host, _, port = settings.worker_metrics_bind.rpartition(":")
    registry = metrics.registry()
    registry.register(QueueDepths(settings))
    try:
        _, thread = start_http_server(int(port), host, registry)
    except OSError as error:
        log.error(
            "worker metrics not served", worker_metrics_bind=settings.worker_metrics_bind, reason=str(error)
        )
        return 0
    thread.join()
    return 0

"""GET /metrics in Prometheus's format, on a separate listener unless METRICS_PUBLIC is set.

Every API process returns the same values: counters are summed over all processes, and stored state is read at
each scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, abort, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.clock import utcnow
from app.errors import ServiceUnavailable
from app.payments.outbox import backlog
from app.payments.webhooks import last_received
from app.telemetry import metrics as telemetry

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from app.settings import Settings

_ON_OWN_LISTENER = "movieapp.metrics_listener"
_PATH = "/metrics"


class StoredState(Collector):
    """Collector of stored state: the outbox's backlog, and the time of the gateway's last response."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = utcnow()
        try:
            waiting, since = backlog()
            heard = last_received()
        except ServiceUnavailable:
            return  # the graph shows a gap; other metrics are still exported
        yield GaugeMetricFamily(
            "movieapp_outbox_transactions", "Payments with unpublished events, counted up to 10000", waiting
        )
        age = (now - since).total_seconds() if since else 0
        yield GaugeMetricFamily("movieapp_outbox_oldest_seconds", "Age of the oldest unpublished event", age)
        if heard:
            yield GaugeMetricFamily(
                "movieapp_webhook_last_seconds",
                "Seconds since the last valid webhook",
                (now - heard).total_seconds(),
            )


class _Listener:
    """WSGI middleware that serves only /metrics on the listener of METRICS_BIND.

    Checks the port that received a request, before it trusts a proxy's headers.
    """

    def __init__(self, app: Any, port: str) -> None:
        self._app = app
        self._port = port

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[_ON_OWN_LISTENER] = environ["SERVER_PORT"] == self._port
        if environ[_ON_OWN_LISTENER] and environ["PATH_INFO"] != _PATH:
            start_response("404 Not Found", [("Content-Type", "text/plain"), ("Connection", "close")])
            return [b"This listener serves /metrics only.\n"]
        response: Iterable[bytes] = self._app(environ, start_response)
        return response


def init_app(app: Flask, settings: Settings) -> None:
    """Serve /metrics. Call this last: no other middleware may change a request's port first."""

    def metrics() -> Response:
        if not (settings.metrics_public or request.environ[_ON_OWN_LISTENER]):
            abort(404)
        registry = telemetry.registry()
        registry.register(StoredState())
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    app.add_url_rule(_PATH, view_func=metrics)
    own = settings.metrics_bind.rpartition(":")[2]
    app.wsgi_app = _Listener(app.wsgi_app, own)  # type: ignore[method-assign]

"""GET /metrics, in Prometheus' format; on a listener of its own unless METRICS_PUBLIC says otherwise.

Every process of the API gives the same answer: what is counted is that of all together, and what is stored is
looked at when it is asked for.
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
    """What MongoDB knows: backlog of the outbox, and when the gateway was heard of last."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = utcnow()
        try:
            waiting, since = backlog()
            heard = last_received()
        except ServiceUnavailable:
            return  # a gap in the graph says it; other metrics still go out
        yield GaugeMetricFamily(
            "movieapp_outbox_transactions", "Transactions with events to publish; 10000 means more", waiting
        )
        age = (now - since).total_seconds() if since else 0
        yield GaugeMetricFamily("movieapp_outbox_oldest_seconds", "Age of the oldest of them", age)
        if heard:
            yield GaugeMetricFamily(
                "movieapp_webhook_last_seconds",
                "Seconds since the last valid webhook",
                (now - heard).total_seconds(),
            )


class _Listener:
    """Keeps the listener of METRICS_BIND apart: it has /metrics and nothing else.

    Looks at the port that a request came in by, before any proxy's header is trusted.
    """

    def __init__(self, app: Any, port: str) -> None:
        self._app = app
        self._port = port

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ[_ON_OWN_LISTENER] = environ["SERVER_PORT"] == self._port
        if environ[_ON_OWN_LISTENER] and environ["PATH_INFO"] != _PATH:
            start_response("404 Not Found", [("Content-Type", "text/plain"), ("Connection", "close")])
            return [b"This listener serves /metrics only.\n"]
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer


def init_app(app: Flask, settings: Settings) -> None:
    """Serve /metrics. To be called last: nothing may change a request's port before it is looked at."""

    def metrics() -> Response:
        if not (settings.metrics_public or request.environ[_ON_OWN_LISTENER]):
            abort(404)
        registry = telemetry.registry()
        registry.register(StoredState())
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    app.add_url_rule(_PATH, view_func=metrics)
    own = settings.metrics_bind.rpartition(":")[2]
    app.wsgi_app = _Listener(app.wsgi_app, own)  # type: ignore[method-assign]

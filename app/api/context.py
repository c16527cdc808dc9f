"""Give each request an id, from a valid X-Request-ID or a new one, and a span."""

from __future__ import annotations

import re
import time

from flask import Flask, Response, g, request

from app.card_numbers import holds_card_number
from app.ids import new_id
from app.telemetry import metrics, tracing
from app.telemetry.context import begin_request, end_request
from app.telemetry.logs import get_logger

log = get_logger(__name__)

#: Requested every few seconds by machines.
_NOT_TRACED = ("/health", "/metrics")

#: Methods that metrics count by name.
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def _begin() -> None:
    sent = request.headers.get("X-Request-ID", "")
    sane = _SANE.fullmatch(sent) and not holds_card_number(sent)
    g.request_id = sent if sane else new_id("req_")
    g.started = time.perf_counter()
    begin_request(g.request_id)
    if tracing.enabled() and not request.path.startswith(_NOT_TRACED):
        _begin_span()


def _begin_span() -> None:
    name, attributes = "HTTP", {"movieapp.request_id": g.request_id}
    if request.url_rule:  # otherwise the method may be any word
        name = f"{request.method} {request.url_rule.rule}"
        attributes |= {"http.request.method": request.method, "http.route": request.url_rule.rule}
    g.span = tracing.span(
        name,
        attributes,
        kind="server",
        # An empty context begins a new trace.
        parent=request.headers.get(tracing.TRACEPARENT, ""),
    )
    g.span.__enter__()


def _end(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    seconds = time.perf_counter() - g.started
    route = str(request.url_rule) if request.url_rule else "none"
    method = metrics.known(request.method, _METHODS)
    metrics.HTTP.labels(route, method, response.status_code).observe(seconds)
    if "span" in g:
        tracing.annotate({"http.response.status_code": response.status_code})
        if response.status_code >= 500:
            tracing.failed(str(response.status_code))
    log.debug(
        "request",
        method=request.method,
        path=request.path,
        status=response.status_code,
        milliseconds=round(seconds * 1000, 1),
    )
    return response


def _forget(_error: BaseException | None) -> None:
    if "span" in g:
        g.pop("span").__exit__(None, None, None)
    end_request()


def init_app(app: Flask) -> None:
    """Give every request an id."""
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)

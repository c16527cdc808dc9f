"""The request id: taken from a sane X-Request-ID or made, put on every answer and every log line."""

from __future__ import annotations

import re
import time

from flask import Flask, Response, g, request

from app.ids import new_id
from app.telemetry import metrics
from app.telemetry.context import begin_request, end_request
from app.telemetry.logs import get_logger

log = get_logger(__name__)

#: Methods that are counted by their name.
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def _begin() -> None:
    sent = request.headers.get("X-Request-ID", "")
    g.request_id = sent if _SANE.fullmatch(sent) else new_id("req_")
    g.started = time.perf_counter()
    begin_request(g.request_id)


def _end(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    seconds = time.perf_counter() - g.started
    route = str(request.url_rule) if request.url_rule else "none"
    method = metrics.known(request.method, _METHODS)
    metrics.HTTP.labels(route, method, response.status_code).observe(seconds)
    log.debug(
        "request",
        method=request.method,
        path=request.path,
        status=response.status_code,
        milliseconds=round(seconds * 1000, 1),
    )
    return response


def _forget(_error: BaseException | None) -> None:
    end_request()


def init_app(app: Flask) -> None:
    """Give every request an id."""
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)

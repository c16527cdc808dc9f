"""HTTPS and the headers that keep browsers from being too clever."""

from __future__ import annotations

from io import BytesIO
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from app.errors import Forbidden, MalformedRequest, ServiceUnavailable
from app.services import services

if TYPE_CHECKING:
    from app.settings import Settings

#: Swagger UI comes from here alone; its page starts with a script of its own.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:"
)

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
}

#: Two years, as browsers' preload lists ask for: https://hstspreload.org
_HSTS = "max-age=63072000; includeSubDomains"


#: Probes and Prometheus come straight to the process, past the proxy that ends TLS.
_UNPROXIED = ("/health", "/metrics")


#: What is sent from files, or is as large. Clients that take it slowly get a part of the threads at most.
_LARGE = ("/docs", "/dashboard/static")

#: Bytes that one read takes from a chunked body.
_PIECE = 8_192


def _receive_chunked_body() -> None:
    """Read a chunked body to its end, so that it is counted and checked like one of a known length.

    Werkzeug stops at MAX_CONTENT_LENGTH without looking for more: JSON that ends there would be taken,
    whatever follows.

    Raises:
        RequestEntityTooLarge: it is longer.
        MalformedRequest: a chunk is wrong, or the last one is missing.
    """
    environ = request.environ
    if "HTTP_TRANSFER_ENCODING" not in environ or not environ.get("wsgi.input_terminated"):
        return
    limit, body = current_app.config["MAX_CONTENT_LENGTH"], bytearray()
    try:
        while len(body) <= limit and (piece := environ["wsgi.input"].read(_PIECE)):
            body += piece
    except Exception as error:  # each WSGI server has its own
        raise MalformedRequest("The chunks of the request body are malformed.") from error
    if len(body) > limit:
        raise RequestEntityTooLarge
    del environ["HTTP_TRANSFER_ENCODING"]
    environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}


def _limit_downloads(app: Flask, most: int) -> None:
    """Send at most `most` large responses at once; answer 503 beyond that."""
    free = BoundedSemaphore(most)

    def take() -> None:
        if request.path.startswith(_LARGE):
            if not free.acquire(blocking=False):
                raise ServiceUnavailable("Too many downloads at once. Please try again soon.")
            g.holds_download = True

    def give_back(response: Response) -> Response:
        if g.pop("holds_download", False):
            response.call_on_close(free.release)
        return response

    app.before_request(take)
    app.after_request(give_back)


def is_direct() -> bool:
    """Whether a request came past the proxies that are in front, as an orchestrator's probes do."""
    return bool(services().settings.trusted_proxies) and "X-Forwarded-For" not in request.headers


def _refuse_plain_http() -> None:
    if not request.is_secure and not request.path.startswith(_UNPROXIED):
        raise Forbidden("Use HTTPS.")


def _add_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers["Strict-Transport-Security"] = _HSTS
    return response


def init_app(app: Flask, settings: Settings) -> None:
    """Trust as many proxies as `settings` say, and in production refuse what did not come over HTTPS."""
    hops = settings.trusted_proxies
    if hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    if settings.app_env == "production":
        app.before_request(_refuse_plain_http)
    app.before_request(_receive_chunked_body)
    _limit_downloads(app, settings.web_threads // 8 or 1)
    app.after_request(_add_headers)

"""HTTPS enforcement, trusted proxies, body limits, and security headers."""

from __future__ import annotations

from io import BytesIO
from threading import BoundedSemaphore
from typing import TYPE_CHECKING

from flask import Flask, Response, g, request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.middleware.proxy_fix import ProxyFix

from app.errors import Forbidden, MalformedRequest, ServiceUnavailable
from app.services import services
from app.settings import LARGER_BODIES

if TYPE_CHECKING:
    from app.settings import Settings

#: Swagger UI is served by this app; its page contains an inline script.
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


#: Probes and Prometheus connect directly to the process, not through the proxy that terminates TLS.
_UNPROXIED = ("/health", "/metrics")

#: Peers of an operator's tunnel that ends on this host: `kubectl port-forward`, or `ssh -L`.
_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


#: Responses that are sent from files, or are as large. Clients that read them slowly may occupy only a part
#: of the threads.
_LARGE = ("/docs", "/dashboard/static")

#: Bytes read at once from a chunked body.
_PIECE_BYTES = 8_192


def _receive_chunked_body() -> None:
    """Read a chunked body to its end, so that it is counted and checked like one of a known length.

    Werkzeug stops at MAX_CONTENT_LENGTH and would accept JSON that ends there, whatever follows.

    Raises:
        RequestEntityTooLarge: the body exceeds MAX_CONTENT_LENGTH.
        MalformedRequest: a chunk is wrong, or the last one is missing.
    """
    environ = request.environ
    if "HTTP_TRANSFER_ENCODING" not in environ or not environ.get("wsgi.input_terminated"):
        return
    limit, body = request.max_content_length or 0, bytearray()
    try:
        while len(body) <= limit and (piece := environ["wsgi.input"].read(_PIECE_BYTES)):
            body += piece
    except Exception as error:  # each WSGI server has its own wrapper
        raise MalformedRequest(
            "The chunked request body is malformed or incomplete. Send the complete body."
        ) from error
    if len(body) > limit:
        raise RequestEntityTooLarge
    del environ["HTTP_TRANSFER_ENCODING"]
    environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}


def _allow_larger_body() -> None:
    size = LARGER_BODIES.get(request.path.rstrip("/"))
    if size:
        request.max_content_length = max(size, request.max_content_length or 0)


def _limit_downloads(app: Flask, max_concurrent: int) -> None:
    """Send at most `max_concurrent` large responses at once; return 503 beyond that."""
    free = BoundedSemaphore(max_concurrent)

    def take() -> None:
        if request.path.startswith(_LARGE):
            if not free.acquire(blocking=False):
                raise ServiceUnavailable("Too many downloads are in progress. Please try again soon.")
            g.holds_download = True

    def give_back(response: Response) -> Response:
        if g.pop("holds_download", False):
            # Werkzeug passes the file to the server and never closes the response.
            response.direct_passthrough = False
            response.call_on_close(free.release)
        return response

    app.before_request(take)
    app.after_request(give_back)


def is_direct() -> bool:
    """Return whether a request bypassed the proxies, as an orchestrator's probes do."""
    return bool(services().settings.trusted_proxies) and "X-Forwarded-For" not in request.headers


def _is_tunneled() -> bool:
    """Return whether an operator's tunnel, which encrypts, carries the request to the dashboard."""
    return request.path.startswith("/dashboard") and is_direct() and request.remote_addr in _LOOPBACK


def _refuse_plain_http() -> None:
    if not (request.is_secure or request.path.startswith(_UNPROXIED) or _is_tunneled()):
        raise Forbidden("Plain HTTP is not accepted. Use HTTPS.")


def _add_headers(response: Response) -> Response:
    present = {name.lower() for name, _ in response.headers}
    for name, value in _HEADERS.items():
        if name.lower() not in present:
            response.headers.add(name, value)
    if request.is_secure:
        response.headers["Strict-Transport-Security"] = _HSTS
    return response


def init_app(app: Flask, settings: Settings) -> None:
    """Trust the configured number of proxies. In production, refuse requests over plain HTTP."""
    hops = settings.trusted_proxies
    if hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    if settings.app_env == "production":
        app.before_request(_refuse_plain_http)
    app.before_request(_allow_larger_body)
    app.before_request(_receive_chunked_body)
    _limit_downloads(app, settings.web_threads // 8 or 1)
    app.after_request(_add_headers)

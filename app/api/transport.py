"""HTTPS and the headers that keep browsers from being too clever."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

from app.errors import Forbidden

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
    app.after_request(_add_headers)

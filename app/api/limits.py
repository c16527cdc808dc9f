"""Rate limits for each client, counted in Redis, or in this process while Redis is down."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Flask, Response
from flask_limiter import Limiter
from limits import parse_many

from app.api.auth import caller
from app.api.failures import Failures, client_address
from app.api.limits_storage import OneTripStorage
from app.telemetry import metrics

if TYPE_CHECKING:
    from app.settings import Settings


class _ViewLimiter(Limiter):
    """Flask-Limiter that checks a request only when a limited view is called.

    Flask-Limiter also checks before every view, for default limits. This project has none.
    """

    def _check_request_limit(self, callable_name: str | None = None, in_middleware: bool = True) -> None:
        if not in_middleware:
            super()._check_request_limit(callable_name, in_middleware)


def by_caller() -> str:
    """Return the API key's id, or else the client's address."""
    return caller() or client_address()


def init_app(app: Flask, settings: Settings) -> None:
    """Set up rate limits from `settings`. `limit` then adds views."""
    # Short timeouts: counting in Redis must not delay a payment.
    options: Any = {"socket_connect_timeout": 0.5, "socket_timeout": 0.5}
    options["grouped_limits"] = parse_many(settings.ratelimit_payments)
    limiter = _ViewLimiter(
        by_caller,
        app=app,
        enabled=settings.ratelimit_enabled,
        storage_uri=OneTripStorage.PREFIX + settings.redis_url,
        storage_options=options,
        key_prefix=f"{settings.namespace}ratelimit",
        in_memory_fallback_enabled=True,
    )

    def add_headers(response: Response) -> Response:
        """Add the rate-limit headers. Flask-Limiter's own would add Retry-After to every response."""
        limit = limiter.current_limit
        if limit:
            response.headers["X-RateLimit-Limit"] = str(limit.limit.amount)
            response.headers["X-RateLimit-Remaining"] = str(max(0, limit.remaining))
            response.headers["X-RateLimit-Reset"] = str(limit.reset_at)
            if response.status_code == HTTPStatus.TOO_MANY_REQUESTS and "Retry-After" not in response.headers:
                response.headers["Retry-After"] = str(max(1, math.ceil(limit.reset_at - time.time())))
                metrics.RATE_LIMITED.inc()
        return response

    app.after_request(add_headers)
    app.extensions["limits"] = limiter
    app.extensions["failures"] = Failures(limiter, settings.ratelimit_failures)


def limit(
    app: Flask,
    endpoint: str,
    limits: str,
    by: Callable[[], str] = by_caller,
    unless: Callable[[], bool] | None = None,
) -> None:
    """Limit a view.

    Args:
        app: the application that has the view.
        endpoint: name of the view.
        limits: for example `100 per minute; 20 per 10 seconds`.
        by: returns the client of the current request.
        unless: returns True for requests that do not count.
    """
    limiter: Limiter = app.extensions["limits"]
    view: Any = app.view_functions[endpoint]
    app.view_functions[endpoint] = limiter.limit(limits, key_func=by, exempt_when=unless)(view)

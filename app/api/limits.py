"""Rate limits for each client, counted in Redis and, while Redis is away, in this process."""

from __future__ import annotations

import math
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, current_app
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from app.api.auth import caller
from app.api.limits_storage import OneTripStorage
from app.telemetry import metrics

if TYPE_CHECKING:
    from app.settings import Settings


def _client() -> str:
    return caller() or get_remote_address()


_limiter = Limiter(_client)


def _payment_limits() -> str:
    limits: str = current_app.config["PAYMENT_LIMITS"]
    return limits


#: Decorator of the views that move money.
limit_payments: Any = _limiter.limit(_payment_limits)

#: Decorator of the view where API keys could be guessed.
limit_sign_in: Any = _limiter.limit("10 per minute", key_func=get_remote_address)


def _add_headers(response: Response) -> Response:
    """The contract's headers. Flask-Limiter's own would put Retry-After on every answer."""
    limit = _limiter.current_limit
    if limit:
        response.headers["X-RateLimit-Limit"] = str(limit.limit.amount)
        response.headers["X-RateLimit-Remaining"] = str(max(0, limit.remaining))
        response.headers["X-RateLimit-Reset"] = str(limit.reset_at)
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            response.headers["Retry-After"] = str(max(1, math.ceil(limit.reset_at - time.time())))
            metrics.RATE_LIMITED.inc()
    return response


def init_app(app: Flask, settings: Settings) -> None:
    """Count as `settings` say."""
    app.config.update(
        PAYMENT_LIMITS=settings.ratelimit_payments,
        RATELIMIT_ENABLED=settings.ratelimit_enabled,
        RATELIMIT_STORAGE_URI=OneTripStorage.PREFIX + settings.redis_url,
        # Redis only counts here: it must never hold up a payment.
        RATELIMIT_STORAGE_OPTIONS={"socket_connect_timeout": 0.5, "socket_timeout": 0.5},
        RATELIMIT_KEY_PREFIX=f"{settings.namespace}ratelimit",
        RATELIMIT_IN_MEMORY_FALLBACK_ENABLED=True,
    )
    _limiter.init_app(app)
    app.after_request(_add_headers)

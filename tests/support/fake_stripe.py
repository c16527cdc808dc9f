"""Stripe's side of a connection, scripted with one response or failure for each request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import stripe
from urllib3 import HTTPHeaderDict

from app.settings import Settings


@dataclass(frozen=True)
class Request:
    """A request as it was sent."""

    method: str
    path: str
    params: list[tuple[str, str]]
    key: str | None


@dataclass
class Clock:
    """A clock that advances only when code sleeps."""

    now: float = 1000.0
    pauses: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def error(
    status: int, code: str | None = None, headers: Mapping[str, str] | None = None, **fields: Any
) -> Any:
    """An error response of Stripe."""
    body = {"error": {"type": "invalid_request_error", "code": code} | fields}
    return status, body, headers or {}


def lost() -> stripe.APIConnectionError:
    """A lost response to a request that may have arrived."""
    return stripe.APIConnectionError("no response", should_retry=True)


class FakeTransport(stripe.HTTPClient):
    """Responds to each request with the next of `responses`: (status, JSON, headers), JSON alone, or an
    exception.

    Args:
        responses: the last one is repeated.
        clock: advanced by `seconds` at each request.
        seconds: duration of a request.
    """

    name = "fake"

    def __init__(self, *responses: Any, clock: Clock | None = None, seconds: float = 0.0) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self._responses = list(responses)
        self._clock = clock or Clock()
        self._seconds = seconds

    def request(  # type: ignore[override] # bytes, as the SDK's own clients do
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        parts = urlsplit(url)
        params = parse_qsl(post_data or parts.query, keep_blank_values=True)
        self.requests.append(Request(method, parts.path, params, headers.get("Idempotency-Key")))
        self._clock.now += self._seconds
        response = self._responses.pop(0) if len(self._responses) > 1 else self._responses[0]
        if isinstance(response, Exception):
            raise response
        status, body, answered = response if isinstance(response, tuple) else (200, response, {})
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return data, status, HTTPHeaderDict(answered)

    def close(self) -> None:
        pass


def settings(**changes: Any) -> Settings:
    """Settings with Stripe's key, without this machine's environment."""
    values = {"payment_gateway_api_key": "sk_test_x", "namespace": "shop"} | changes
    return Settings(_env_file=None, **values)

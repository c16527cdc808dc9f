"""The SDK's HTTP client, with the one thing it does not tell: whether a request got out."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import stripe
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from app.telemetry import metrics, tracing

#: Stripe's paths: a resource, perhaps one of them, perhaps something to do with it.
_PATH = re.compile(r"/v1/(?P<resource>[a-z_]+)(?:/[^/]+(?:/(?P<verb>[a-z_]+))?)?")


class HTTPClient(stripe.RequestsClient):
    """The SDK's HTTP client (a kept connection for each thread), which remembers if a request got out.

    The SDK reports a refused connection and a lost answer alike; only the second may have charged.
    """

    def __init__(self, timeout: tuple[float, float]) -> None:
        super().__init__(timeout=timeout)
        self._call = threading.local()

    def begin(self, *, asked_before: bool) -> None:
        self._call.may_have_arrived = asked_before

    @property
    def may_have_arrived(self) -> bool:
        return bool(self._call.may_have_arrived)

    def request(  # type: ignore[override] # as the SDK's own RequestsClient does
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        operation = _operation(method, url)
        started, outcome = time.monotonic(), "no answer"
        try:
            with (
                tracing.span(f"gateway {operation}", kind="client"),
                metrics.GATEWAY_IN_FLIGHT.track_inprogress(),
            ):
                content, status, answer = super().request(method, url, headers, post_data)
                tracing.annotate({"http.response.status_code": status})
                if status >= 500:
                    tracing.failed(str(status))
            outcome = str(status)
        except stripe.APIConnectionError as error:
            if not _never_connected(error.__cause__):
                self._call.may_have_arrived = True
            raise
        finally:
            seconds = time.monotonic() - started
            metrics.GATEWAY.labels(operation, outcome).observe(seconds)
        if status >= 500 or status == 409:
            self._call.may_have_arrived = True
        return content, status, answer


def _operation(method: str, url: str) -> str:
    """`POST payment_intents cancel`: the call without its ids."""
    path = _PATH.fullmatch(urlsplit(url).path)
    return " ".join(filter(None, (method.upper(), *(path.groups() if path else ()))))


def _never_connected(error: BaseException | None) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(error.args[0], "reason", None) if error and error.args else None
    return isinstance(error, requests.exceptions.ConnectionError) and isinstance(
        reason, NewConnectionError | ConnectTimeoutError
    )

"""The HTTP client under Stripe's SDK."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import stripe
import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError, SSLError

from app.gateway.stripe.connections import timed_pool
from app.gateway.stripe.errors import NeverReached
from app.telemetry import metrics, tracing

#: Stripe's paths: a resource, then perhaps an id, then perhaps an action.
_PATH = re.compile(r"/v1/(?P<resource>[a-z_]+)(?:/[^/]+(?:/(?P<verb>[a-z_]+))?)?")


class HTTPClient(stripe.HTTPClient):
    """The SDK's HTTP client on urllib3, with connections shared by all threads.

    Unlike the SDK's own clients, it distinguishes a failed connection (`NeverReached`) from a lost response,
    after which the request may have been executed. It also needs half the processor time of the SDK's client
    on requests.

    Args:
        url: URL of the gateway. HTTPS_PROXY and NO_PROXY of the environment apply.
        timeout: seconds to connect, and seconds for the whole response.
        connections: maximum number of idle connections.
    """

    name = "urllib3"

    def __init__(self, url: str, timeout: tuple[float, float], connections: int) -> None:
        super().__init__()
        connect, read = timeout
        options: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=connect, read=read),
            "maxsize": connections,
            "retries": False,  # see client.py
            "ca_certs": stripe.ca_bundle_path,
        }
        target = urlsplit(url)
        proxy = None if proxy_bypass(target.hostname or "") else getproxies().get(target.scheme)
        self._pool = timed_pool(proxy, **options)

    def request(  # type: ignore[override] # as the SDK's own clients do
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        operation = _operation(method, url)
        started, outcome = time.monotonic(), "no answer"
        try:
            with (
                tracing.span(f"gateway {operation}", kind="client"),
                metrics.GATEWAY_IN_FLIGHT.track_inprogress(),
            ):
                response = self._send(method, url, headers, post_data)
                tracing.annotate({"http.response.status_code": response.status})
                if response.status >= 500:
                    tracing.failed(str(response.status))
            outcome = str(response.status)
        finally:
            seconds = time.monotonic() - started
            metrics.GATEWAY.labels(operation, outcome).observe(seconds)
        return response.data, response.status, response.headers

    def _send(
        self, method: str, url: str, headers: Mapping[str, str] | None, body: Any
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.request(method.upper(), url, body=body, headers=headers, redirect=False)
        except HTTPError as error:
            kind = NeverReached if _has_never_connected(error) else stripe.APIConnectionError
            raise kind(  # type: ignore[no-untyped-call]
                f"The gateway did not respond: {type(error).__name__}.",
                should_retry=not isinstance(error, SSLError),
            ) from error

    def close(self) -> None:
        self._pool.clear()


def _operation(method: str, url: str) -> str:
    """Name a request without its ids, for example `POST payment_intents cancel`."""
    path = _PATH.fullmatch(urlsplit(url).path)
    return " ".join(filter(None, (method.upper(), *(path.groups() if path else ()))))


def _has_never_connected(error: BaseException) -> bool:
    if isinstance(error, ProxyError):
        error = error.original_error
    if isinstance(error, SSLError) and error.args and isinstance(error.args[0], ssl.SSLCertVerificationError):
        # The certificate is checked before the request is sent.
        return True
    return isinstance(error, NewConnectionError | ConnectTimeoutError)

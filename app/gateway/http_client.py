"""The SDK's HTTP client, with the one thing it does not tell: whether a request got out."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import stripe
import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProxyError, SSLError

from app.telemetry import metrics, tracing

#: Stripe's paths: a resource, perhaps one of them, perhaps something to do with it.
_PATH = re.compile(r"/v1/(?P<resource>[a-z_]+)(?:/[^/]+(?:/(?P<verb>[a-z_]+))?)?")


class HTTPClient(stripe.HTTPClient):
    """The SDK's HTTP client on urllib3, its connections kept for all threads; remembers if a request got out.

    The SDK reports a refused connection and a lost answer alike; only the second may have charged. Its own
    clients are on requests, which takes twice the processor time of the urllib3 under it, and on httpx.

    Args:
        url: the gateway's; HTTPS_PROXY and NO_PROXY of the environment are heeded.
        timeout: seconds to connect, and between two bytes of the answer.
        connections: kept at most.
    """

    name = "urllib3"

    def __init__(self, url: str, timeout: tuple[float, float], connections: int) -> None:
        super().__init__()
        self._call = threading.local()
        connect, read = timeout
        options: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=connect, read=read),
            "maxsize": connections,
            "retries": False,  # the SDK's own
            "ca_certs": stripe.ca_bundle_path,
        }
        target = urlsplit(url)
        proxy = None if proxy_bypass(target.hostname or "") else getproxies().get(target.scheme)
        self._pool = urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)

    def begin(self, *, asked_before: bool) -> None:
        self._call.may_have_arrived = asked_before

    @property
    def may_have_arrived(self) -> bool:
        return bool(self._call.may_have_arrived)

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
                answer = self._send(method, url, headers, post_data)
                tracing.annotate({"http.response.status_code": answer.status})
                if answer.status >= 500:
                    tracing.failed(str(answer.status))
            outcome = str(answer.status)
        finally:
            seconds = time.monotonic() - started
            metrics.GATEWAY.labels(operation, outcome).observe(seconds)
        if answer.status >= 500 or answer.status == 409:
            self._call.may_have_arrived = True
        return answer.data, answer.status, answer.headers

    def _send(
        self, method: str, url: str, headers: Mapping[str, str] | None, body: Any
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._pool.request(method.upper(), url, body=body, headers=headers, redirect=False)
        except HTTPError as error:
            if not _never_connected(error):
                self._call.may_have_arrived = True
            raise stripe.APIConnectionError(  # type: ignore[no-untyped-call]
                f"The gateway did not answer: {type(error).__name__}.",
                should_retry=not isinstance(error, SSLError),
            ) from error

    def close(self) -> None:
        self._pool.clear()


def _operation(method: str, url: str) -> str:
    """`POST payment_intents cancel`: the call without its ids."""
    path = _PATH.fullmatch(urlsplit(url).path)
    return " ".join(filter(None, (method.upper(), *(path.groups() if path else ()))))


def _never_connected(error: BaseException) -> bool:
    if isinstance(error, ProxyError):
        error = error.original_error
    return isinstance(error, NewConnectionError | ConnectTimeoutError)

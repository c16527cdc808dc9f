"""The SDK's HTTP client, with the one thing it does not tell: whether a request got out."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import requests
import stripe
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError


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
        try:
            content, status, answer = super().request(method, url, headers, post_data)
        except stripe.APIConnectionError as error:
            if not _never_connected(error.__cause__):
                self._call.may_have_arrived = True
            raise
        if status >= 500 or status == 409:
            self._call.may_have_arrived = True
        return content, status, answer


def _never_connected(error: BaseException | None) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(error.args[0], "reason", None) if error and error.args else None
    return isinstance(error, requests.exceptions.ConnectionError) and isinstance(
        reason, NewConnectionError | ConnectTimeoutError
    )

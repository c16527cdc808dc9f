"""Call Stripe's API through its SDK, with retries within a time budget."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast

import stripe

from app.gateway.stripe.errors import details, is_rate_limit, is_result, may_have_arrived
from app.gateway.stripe.http_client import HTTPClient

if TYPE_CHECKING:
    from app.settings import Settings

#: Stripe's limit for a page of a list.
PAGE_SIZE = 100

#: Pauses before retries double from the first to the longest. `Settings.gateway_time_budget` counts on both.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0

#: With each request, the SDK would send Stripe details of this machine and the duration of the previous
#: request.
stripe.enable_telemetry = False


class StripeApi:
    """Stripe's API as parsed JSON. Every request goes through this class; tests can replace it.

    If attempts fail differently, a call raises the least certain error: after a lost response, a later
    refusal does not settle the outcome. See `errors.may_have_arrived`.

    Args:
        settings: URL, key, timeouts, retries.
        transport: sends one request.
    """

    def __init__(self, settings: Settings, transport: stripe.HTTPClient | None = None) -> None:
        connect, read = settings.payment_gateway_connect_timeout, settings.payment_gateway_read_timeout
        transport = transport or HTTPClient(
            settings.payment_gateway_url, (connect, read), settings.web_threads
        )
        self._client = stripe.StripeClient(
            settings.payment_gateway_api_key.get_secret_value() or "sk_not_configured",
            base_addresses={"api": settings.payment_gateway_url.rstrip("/")},
            http_client=transport,
            max_network_retries=0,  # retried here
        )
        self._budget_seconds = settings.gateway_time_budget
        self._one_try_seconds = connect + read
        self._max_retries = settings.payment_gateway_max_retries

    def call(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the response's JSON.

        Args:
            method: `get` or `post`.
            path: for example `/v1/refunds`.
            params: the request's parameters, nested as in Stripe's reference.
            idempotency_key: of a `post`; without one, only the retries of this call share a key.

        Raises:
            stripe.StripeError: an error, or no response.
        """
        return cast("dict[str, Any]", self._send(method, path, params, idempotency_key).data)

    def pages(self, path: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield every object of a list, newest first. https://docs.stripe.com/api/pagination

        Raises:
            stripe.StripeError: as `call`, at any page.
        """
        page_params = {**params, "limit": PAGE_SIZE}
        while True:
            page = self.call("get", path, page_params)
            yield from page["data"]
            if not page["has_more"] or not page["data"]:
                return
            page_params["starting_after"] = page["data"][-1]["id"]

    def clock(self) -> datetime:
        """Return Stripe's time, from a response to a request that needs a valid key.

        Raises:
            stripe.StripeError: an error, or no response.
        """
        response = self._send("get", "/v1/balance", None, None)
        try:
            return parsedate_to_datetime(response.headers["Date"])
        except (KeyError, ValueError) as error:
            raise stripe.APIError("Stripe's response has no valid Date header.") from error

    def _send(
        self, method: str, path: str, params: Mapping[str, Any] | None, idempotency_key: str | None
    ) -> stripe.StripeResponse:
        if method == "post":
            idempotency_key = idempotency_key or str(uuid.uuid4())
        options = {"idempotency_key": idempotency_key} if idempotency_key else {}
        deadline = time.monotonic() + self._budget_seconds
        open_error: stripe.StripeError | None = None
        failures = rate_limits = 0
        while True:
            try:
                return self._send_once(method, path, {**(params or {}), **options})
            except stripe.StripeError as error:
                last_error = error
            if is_result(last_error):
                raise last_error
            if may_have_arrived(last_error) and not _names_payment(open_error):
                open_error = last_error
            if is_rate_limit(last_error):
                # Rate limits are fast and execute nothing, so only the time limits these retries.
                rate_limits += 1
                pause = max(_pause_seconds(rate_limits), _retry_after_seconds(last_error))
            else:
                failures += 1
                pause = _pause_seconds(failures)
                if failures > self._max_retries or not _is_retryable(last_error):
                    break
            if time.monotonic() + pause + self._one_try_seconds > deadline:
                break
            time.sleep(pause)
        raise open_error or last_error

    def _send_once(self, method: str, path: str, params: Mapping[str, Any]) -> stripe.StripeResponse:
        try:
            response = cast("stripe.StripeResponse", self._client.raw_request(method, path, **params))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # The SDK failed to parse a response that is not Stripe's, for example {"error": "text"} of a
            # proxy.
            raise stripe.APIError(
                "The payment gateway's response can't be parsed. Check PAYMENT_GATEWAY_URL."
            ) from error
        if not isinstance(response.data, dict) or "object" not in response.data:
            raise stripe.APIError(
                "The payment gateway's response is not a Stripe API object. Check PAYMENT_GATEWAY_URL.",
                http_status=response.code,
            )
        return response


def _names_payment(error: stripe.StripeError | None) -> bool:
    return error is not None and "payment_intent" in details(error)


def _is_retryable(error: stripe.StripeError) -> bool:
    """Return whether to retry, by Stripe's advice or else the kind of error, as Stripe's SDKs do."""
    advice = _header(error, "stripe-should-retry")
    if advice in ("true", "false"):
        return advice == "true"
    if isinstance(error, stripe.APIConnectionError):
        return error.should_retry
    status = error.http_status or 0
    return status == 409 or status >= 500


def _pause_seconds(attempt: int) -> float:
    """Return the seconds before retry number `attempt`: exponential with jitter."""
    longest = min(FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1), LONGEST_PAUSE_SECONDS)
    return longest * random.uniform(0.5, 1)  # noqa: S311 - not a secret


def _retry_after_seconds(error: stripe.StripeError) -> float:
    value = _header(error, "retry-after")
    return float(value) if value.isascii() and value.isdecimal() else 0.0


def _header(error: stripe.StripeError, name: str) -> str:
    # urllib3's headers ignore case; those of an SDK error without a response are an empty dict.
    return (error.headers or {}).get(name) or ""

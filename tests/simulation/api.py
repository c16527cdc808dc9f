"""The connection between the program and Stripe, with all possible faults of a request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import stripe

from app.gateway.stripe.client import StripeApi
from app.gateway.stripe.errors import NeverReached
from tests.simulation.stripe_books import Request, Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.settings import Settings
    from tests.simulation.stripe_books import StripeBooks
    from tests.simulation.world import World


class SimulatedApi(StripeApi):
    """The real client with its retries and time budget, on a simulated connection.

    Args:
        world: time, and what goes wrong.
        books: Stripe.
        settings: timeouts and retries.
    """

    def __init__(self, world: World, books: StripeBooks, settings: Settings) -> None:
        self._world = world
        self._books = books
        self._budget_seconds = settings.gateway_time_budget
        self._one_try_seconds = (
            settings.payment_gateway_connect_timeout + settings.payment_gateway_read_timeout
        )
        self._max_retries = settings.payment_gateway_max_retries
        self._connect_seconds = settings.payment_gateway_connect_timeout

    def _send_once(self, method: str, path: str, params: Mapping[str, Any]) -> Any:
        world, actor = self._world, self._world.current
        if actor is None:
            raise RuntimeError("only actors make calls")
        given = dict(params)
        key = given.pop("idempotency_key", None)
        writes = method == "post"
        fault, degree = world.fault("gateway" if writes else "gateway_read")
        latency = 0.01 + 0.1 * degree
        request = Request(method, path, given, key, (actor.name, actor.born), 0.05 + degree)
        if fault == "killed before":
            world.crash()
        if fault == "paused before":
            world.sleep(60 + 300 * degree)
        if world.now < world.gateway_down_until and not world.healed:
            fault = "unreachable" if degree < 0.5 else "request lost"
        match fault:
            case "unreachable":
                world.sleep(self._connect_seconds)
                raise NeverReached("no connection", should_retry=True)
            case "rate limited":
                world.sleep(latency)
                raise stripe.RateLimitError("429", http_status=429, json_body={"error": {}}, headers={})
            case "unauthorized":
                world.sleep(latency)
                raise stripe.AuthenticationError("401", http_status=401, json_body={"error": {}}, headers={})
            case "request lost":
                world.sleep(self._one_try_seconds)
                raise _lost()
            case "request delayed":
                # From half a minute to 20 hours, which is less than the lifetime of a key at Stripe.
                delay = 30 * 2400**degree
                world.log(f"request {path} {key} arrives in {delay:.0f} s")
                world.after(delay, lambda: self._books.arrive(request))
                world.sleep(self._one_try_seconds)
                raise _lost()
            case "slow":
                request.duration = 60 * degree
            case "stored error before":
                request.stored_error = "before"
            case "stored error after":
                request.stored_error = "after"
        world.after(latency, lambda: self._books.arrive(request))
        if fault == "killed after":
            world.sleep(2 * degree)
            world.crash()
        if fault == "response lost":
            world.sleep(self._one_try_seconds)
            raise _lost()
        answered = world.wait(request.response, self._one_try_seconds)
        if fault == "paused after":
            world.sleep(60 + 300 * degree)
        if not answered:
            raise _lost()
        status, body, _replayed = request.response.value
        if status >= 400:
            raise _raised(request.response.value)
        return SimpleNamespace(data=body, headers={})


def _lost() -> stripe.StripeError:
    return stripe.APIConnectionError("no response", should_retry=True)


def _raised(result: Result) -> stripe.StripeError:
    """Return the error that Stripe's SDK raises for a response."""
    status, body, replayed = result
    error = body["error"]
    headers = {"idempotent-replayed": "true"} if replayed else {}
    about: dict[str, Any] = {"http_status": status, "json_body": body, "headers": headers}
    message, code = error.get("message") or str(status), error.get("code")
    if status == 402:
        return stripe.CardError(message, None, code, **about)
    if status in (400, 404):
        if error["type"] == "idempotency_error":
            return stripe.IdempotencyError(message, code=code, **about)
        return stripe.InvalidRequestError(message, None, code, **about)
    return stripe.APIError(message, code=code, **about)

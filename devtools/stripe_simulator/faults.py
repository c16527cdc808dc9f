"""Faults on demand: failures of networks, banks, and Stripe, for tests."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from typing import Any

from devtools.stripe_simulator.errors import Dropped, StripeError

KINDS = ("delay", "error", "drop_before", "drop_after", "malformed", "pending", "none")

_MATCH = re.compile(r"(GET|POST|DELETE) /\S*")
_MAX_DELAY_SECONDS = 3600

#: Status → Stripe's `type` and default `code`: https://docs.stripe.com/api/errors
_ERRORS: dict[int, dict[str, str]] = {
    401: {"kind": "invalid_request_error"},
    403: {"kind": "invalid_request_error"},
    409: {"kind": "idempotency_error", "code": "idempotency_key_in_use"},
    # https://docs.stripe.com/rate-limits; an object lock timeout has the code lock_timeout.
    429: {"kind": "invalid_request_error", "code": "rate_limit"},
}


@dataclass
class Fault:
    """One fault.

    Attributes:
        match: method and beginning of the path, such as "POST /v1/payment_intents".
        kind: delay (the response is late), error (a response of `status`), drop_before and drop_after (the
            connection ends before or after the work), malformed (the work is done; the response is no JSON),
            pending (the payment is `processing`, or the refund `pending`, until a test settles it), none
            (nothing but `webhook`).
        seconds: duration of a delay.
        status, code: status and code of an error; the default code depends on the status.
        times: number of affected requests; 0 for all until it is cleared.
        before: a delay comes before the work, while its idempotency key is in use, instead of after it.
        after: an error replaces the response of work that was done, and idempotency stores it.
        stored: an error that prevents the work is stored for the idempotency key. The default for 5xx, as
            Stripe documents: https://docs.stripe.com/api/idempotent_requests. False is an error of a proxy
            in front of Stripe.
        webhook: false sends no events of the request.
    """

    match: str
    kind: str
    seconds: float = 1.0
    status: int = 500
    code: str | None = None
    times: int = 1
    before: bool = False
    after: bool = False
    stored: bool | None = None
    webhook: bool = True

    @property
    def is_stored(self) -> bool:
        """Return whether idempotency stores the error."""
        return self.after or (self.status >= 500 if self.stored is None else self.stored)

    def before_work(self) -> None:
        """Apply the fault's part before the idempotency key is checked.

        Raises:
            StripeError: instead of executing the request.
            Dropped: instead of executing the request.
        """
        if self.kind == "drop_before":
            raise Dropped
        if self.kind == "error" and not self.is_stored:
            raise self.error()
        if self.kind == "delay" and self.before:
            time.sleep(self.seconds)

    def after_work(self) -> None:
        """Apply the fault's part after the request is executed and its key is released.

        Raises:
            Dropped: instead of responding.
        """
        if self.kind == "drop_after":
            raise Dropped
        if self.kind == "delay" and not self.before:
            time.sleep(self.seconds)

    def error(self) -> StripeError:
        """Return the error for the fault's status."""
        fields = _ERRORS.get(self.status, {"kind": "api_error"})
        if self.code:
            fields = {**fields, "code": self.code}
        return StripeError(self.status, "This error is an injected fault.", **fields)


class Faults:
    """The faults that wait for a matching request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(self, body: dict[str, Any]) -> None:
        """Add a fault for the next matching request.

        Raises:
            StripeError: `body` is not a valid fault.
        """
        fault = parse(body)
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        """Remove every fault."""
        with self._lock:
            self._waiting.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the first fault that matches a request, and count its use."""
        line = f"{method} {path}"
        with self._lock:
            for fault in self._waiting:
                if line.startswith(fault.match):
                    # The counter of a fault with 0 times becomes negative, so the fault never ends.
                    fault.times -= 1
                    if fault.times == 0:
                        self._waiting.remove(fault)
                    return fault
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


#: Requirement of each member, as text and as a check.
_MEMBERS: dict[str, tuple[str, Any]] = {
    "match": (
        'a method and the beginning of a path, such as "POST /v1/payment_intents"',
        lambda value: isinstance(value, str) and _MATCH.fullmatch(value),
    ),
    "kind": (f"one of {', '.join(KINDS)}", lambda value: value in KINDS),
    "seconds": (
        f"a number from 0 to {_MAX_DELAY_SECONDS}",
        lambda value: _is_number(value) and 0 <= value <= _MAX_DELAY_SECONDS,
    ),
    "status": ("an integer from 400 to 599", lambda value: type(value) is int and 400 <= value <= 599),
    "times": ("an integer, 0 or more", lambda value: type(value) is int and value >= 0),
    "code": ("a code of Stripe's, such as lock_timeout", lambda value: isinstance(value, str) and value),
    **dict.fromkeys(
        ("before", "after", "stored", "webhook"), ("true or false", lambda value: isinstance(value, bool))
    ),
}


def parse(body: dict[str, Any]) -> Fault:
    """Read a fault from JSON.

    Raises:
        StripeError: a member is missing, unknown or wrong; the message says which, and what it must be.
    """
    for name in ("match", "kind", *body):
        if name not in _MEMBERS:
            raise StripeError(400, f"Unknown member {name}. Use only {', '.join(_MEMBERS)}.", param=name)
        words, is_right = _MEMBERS[name]
        if name not in body or not is_right(body[name]):
            raise StripeError(400, f"{name} must be {words}.", param=name)
    return Fault(**body)

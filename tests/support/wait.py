"""Wait for conditions, never for a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")

#: Minimum timeout of `wait_for`. A busy machine is much slower than an idle one, and a long timeout costs
#: nothing if the condition becomes true.
MIN_TIMEOUT_SECONDS = 60.0

_POLL_SECONDS = 0.02


def wait_for(condition: Callable[[], T | None], timeout: float, message: str | Callable[[], str]) -> T:
    """Poll `condition` until it is true.

    Args:
        condition: polled every 20 ms.
        timeout: seconds to wait, and at least `MIN_TIMEOUT_SECONDS`: a limit for a test that hangs. To test a
            duration, use `wait_within`.
        message: error message at the timeout, or a function that returns it.

    Returns:
        The first true value.
    """
    return wait_within(condition, max(timeout, MIN_TIMEOUT_SECONDS), message)


def wait_within(condition: Callable[[], T | None], limit: float, message: str | Callable[[], str]) -> T:
    """Poll `condition` until it is true, and fail the test after the promised `limit` in seconds.

    Returns:
        The first true value.
    """
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"after {limit:g} s: {message if isinstance(message, str) else message()}")
        time.sleep(_POLL_SECONDS)

"""Waiting for conditions, never for time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], timeout: float, message: str | Callable[[], str]) -> T:
    """Ask `condition` until it is true.

    Returns:
        Its first true value. Fails the test with `message` after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"after {timeout} s: {message if isinstance(message, str) else message()}")
        time.sleep(0.02)

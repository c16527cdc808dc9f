"""Measure the typical duration of a request."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

_REQUESTS = 9


def typical_seconds(send: Callable[[], requests.Response]) -> float:
    """Return the median time of nine requests that must succeed.

    If slow clients block other requests, all nine are slow. A single request that waits for a busy processor
    does not change the median.
    """
    seconds = []
    for _ in range(_REQUESTS):
        started = time.monotonic()
        assert send().status_code == 200
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds)

"""When to try a delivery again."""

from __future__ import annotations

import random

#: Milliseconds. The longest delay stays well below RabbitMQ's consumer timeout of 30 minutes, and the whole
#: schedule of the default five retries below an hour.
_BASE = 5_000
_LONGEST = 14 * 60 * 1_000


def delay(retries: int) -> int:
    """Milliseconds to wait before retry number `retries` + 1: exponential, with full jitter.

    Full jitter spreads the retries of many mails that failed together
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    longest = min(_LONGEST, _BASE * 4**retries)
    return random.randint(_BASE // 5, longest)  # noqa: S311 - no secret


def spread(seconds: float) -> int:
    """Milliseconds: `seconds` and up to half of them more, so that those who wait do not come all at once."""
    shortest = min(_LONGEST, int(seconds * 1_000))
    return min(_LONGEST, random.randint(shortest, shortest * 3 // 2))  # noqa: S311 - no secret

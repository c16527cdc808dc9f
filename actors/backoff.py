"""Delays between attempts of a delivery."""

from __future__ import annotations

import random

#: The longest delay of one message: well below RabbitMQ's consumer timeout of 30 minutes. A message with a
#: longer wait is redelivered before it is due, and delayed again.
MAX_DELAY_MS = 14 * 60 * 1_000

#: The first wait, and the longest. The default of 12 retries takes about six hours (RFC 5321, 4.5.4.1).
_BASE_MS, _MAX_BACKOFF_MS = 5_000, 3_600_000


def delay(retries: int) -> int:
    """Return the milliseconds before retry number `retries` + 1: exponential, with equal jitter.

    Jitter spreads the retries of mails that failed together
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    longest = min(_MAX_BACKOFF_MS, _BASE_MS * 4**retries)
    return random.randint(longest // 2, longest)  # noqa: S311 - no secret


def spread(seconds: float) -> int:
    """Return `seconds` plus up to 50 % jitter, in milliseconds."""
    shortest = min(MAX_DELAY_MS, int(seconds * 1_000))
    return min(MAX_DELAY_MS, random.randint(shortest, shortest * 3 // 2))  # noqa: S311 - no secret

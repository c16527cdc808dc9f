"""The page of lockouts after declined payments."""

from __future__ import annotations

from datetime import UTC, datetime

import redis

from app.dashboard.access import READ
from app.dashboard.blueprint import blueprint, page, requires
from app.errors import unavailable
from app.services import services


@blueprint.route("/attempts")
@requires(READ)
def attempts() -> str:
    """List lockouts after declined payments, the latest end first."""
    try:
        locks = services().payments.attempts.locks()
    except redis.RedisError as error:
        raise unavailable("Redis", error) from None
    rows = [(lock, datetime.fromtimestamp(lock.until, UTC)) for lock in locks]
    return page("attempts", rows=rows)

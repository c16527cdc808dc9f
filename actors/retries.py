"""Retry messages whose actor raised, if a retry may help; else make them dead letters."""

from __future__ import annotations

from typing import Any

import dramatiq
import redis
from dramatiq.broker import MessageProxy
from dramatiq.errors import BrokerConnectionError
from dramatiq.middleware import Retries

from app.models import OUTAGES

#: Milliseconds between retries of a message that failed for a reason other than its delivery.
_MIN_BACKOFF, _MAX_BACKOFF = 1_000, 60_000

#: Retries after an unexpected error, over about ten minutes.
_MAX_RETRIES_AFTER_UNEXPECTED_ERROR = 15

#: Temporary conditions: a server is unavailable, or the delivery is not due. Retried without limit.
_OUTAGE_ERRORS = (*OUTAGES, redis.RedisError, BrokerConnectionError, dramatiq.Retry)


def should_retry(retries: int, error: BaseException) -> bool:
    """Return whether to retry a message after `retries` retries."""
    return isinstance(error, _OUTAGE_ERRORS) or retries < _MAX_RETRIES_AFTER_UNEXPECTED_ERROR


class LosslessRetries(Retries):
    """Dramatiq's retries, without losing a message that the broker does not accept back.

    If the broker refuses the retry, Dramatiq logs that and still acknowledges the message
    (https://github.com/Bogdanp/dramatiq/pull/545). Here it becomes a dead letter. If the connection is lost,
    it stays unacknowledged, and the broker redelivers it.
    """

    def __init__(self) -> None:
        super().__init__(min_backoff=_MIN_BACKOFF, max_backoff=_MAX_BACKOFF, retry_when=should_retry)

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """Enqueue the message again if its actor raised and a retry may help.

        Raises:
            Exception: the broker refuses the retry. Dramatiq logs it.
        """
        try:
            super().after_process_message(  # type: ignore[no-untyped-call]
                broker, message, result=result, exception=exception
            )
        except Exception:
            message.fail()
            raise

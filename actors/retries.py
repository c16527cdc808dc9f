"""Retry a message whose actor raised, as long as that may help; then make it a dead letter."""

from __future__ import annotations

from typing import Any

import dramatiq
import redis
from dramatiq.broker import MessageProxy
from dramatiq.errors import BrokerConnectionError
from dramatiq.middleware import Retries

from app.models import OUTAGES

#: Milliseconds between retries of a message that failed for another reason than its delivery.
_MIN_BACKOFF, _MAX_BACKOFF = 1_000, 60_000

#: Retries after an error that nobody foresaw: about ten minutes' worth.
_MAX_RETRIES_AFTER_UNEXPECTED_ERROR = 15

#: Errors that pass: a server is unavailable, or the delivery is not due. Retried for as long as it takes.
_OUTAGE_ERRORS = (*OUTAGES, redis.RedisError, BrokerConnectionError, dramatiq.Retry)


def worth_a_retry(retries: int, error: BaseException) -> bool:
    """Whether to try a message again that has been retried `retries` times."""
    return isinstance(error, _OUTAGE_ERRORS) or retries < _MAX_RETRIES_AFTER_UNEXPECTED_ERROR


class LosslessRetries(Retries):
    """Dramatiq's retries, without losing a message that the broker does not accept back.

    If the broker does not take the retry, Dramatiq logs that and acknowledges the message all the same
    (https://github.com/Bogdanp/dramatiq/pull/545). Here it becomes a dead letter; or, where the connection is
    gone altogether, stays unacknowledged, and the broker delivers it again.
    """

    def __init__(self) -> None:
        super().__init__(min_backoff=_MIN_BACKOFF, max_backoff=_MAX_BACKOFF, retry_when=worth_a_retry)

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
            Exception: the broker does not take it; Dramatiq logs that.
        """
        try:
            super().after_process_message(  # type: ignore[no-untyped-call]
                broker, message, result=result, exception=exception
            )
        except Exception:
            message.fail()
            raise

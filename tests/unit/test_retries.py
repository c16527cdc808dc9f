"""Which errors retry a message without limit."""

from __future__ import annotations

import dramatiq
import mongoengine.connection
import pymongo.errors
import pytest
import redis
from dramatiq.errors import BrokerConnectionError

from actors.retries import should_retry
from app.errors import ServiceUnavailable, Unacknowledged
from app.models import storage_errors


@pytest.mark.parametrize(
    "error",
    [
        pymongo.errors.ServerSelectionTimeoutError(),
        pymongo.errors.NotPrimaryError(""),
        pymongo.errors.WTimeoutError(""),
        mongoengine.connection.ConnectionFailure(),
        ServiceUnavailable("MongoDB is unavailable."),
        Unacknowledged("MongoDB did not acknowledge the data."),
        redis.ConnectionError(),
        BrokerConnectionError(""),
        dramatiq.Retry(""),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_outage_of_any_length_makes_no_dead_letter(error: Exception) -> None:
    assert should_retry(1_000_000, error)


def test_an_unexpected_error_makes_a_dead_letter_after_fifteen_retries() -> None:
    assert (should_retry(14, ValueError()), should_retry(15, ValueError())) == (True, False)


def test_a_failed_look_into_mongodb_is_an_outage() -> None:
    with pytest.raises(ServiceUnavailable) as raised, storage_errors():
        raise pymongo.errors.ServerSelectionTimeoutError
    assert should_retry(1_000_000, raised.value)

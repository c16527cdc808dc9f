"""GET /health/ready with everything there, and with each server away."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app import create_app
from app.clock import utcnow
from app.models import Transaction
from tests.support.ports import free_port

if TYPE_CHECKING:
    from app.settings import Settings


def ready(settings: Settings, **changes: Any) -> tuple[int, dict[str, Any]]:
    answer = create_app(settings.model_copy(update=changes)).test_client().get("/health/ready")
    return answer.status_code, answer.json or {}


@pytest.fixture
def nowhere() -> str:
    return f"127.0.0.1:{free_port()}"


def test_with_everything_there_it_is_ready(broker_settings: Settings) -> None:
    status, body = ready(broker_settings)
    assert (status, body["status"]) == (200, "ready")
    assert list(body["checks"]) == ["mongodb", "redis", "broker", "gateway", "outbox"]
    assert all(check["ok"] for check in body["checks"].values())


def test_without_mongodb_no_payment_is_safe(redis_settings: Settings, nowhere: str) -> None:
    status, body = ready(redis_settings, mongodb_uri=f"mongodb://{nowhere}/x?serverSelectionTimeoutMS=200")
    assert (status, body["status"]) == (503, "not ready")
    assert not body["checks"]["mongodb"]["ok"]


def test_without_redis_or_the_broker_payments_go_on(redis_settings: Settings, nowhere: str) -> None:
    status, body = ready(
        redis_settings, redis_url=f"redis://{nowhere}/0", rabbitmq_url=f"amqp://u:hunter2@{nowhere}/"
    )
    assert (status, body["status"]) == (200, "ready")
    assert [body["checks"][name]["ok"] for name in ("redis", "broker")] == [False, False]
    assert "hunter2" not in str(body)


def test_without_a_gateway_key_it_is_not_ready(redis_settings: Settings) -> None:
    empty = type(redis_settings.payment_gateway_api_key)("")
    status, body = ready(redis_settings, payment_gateway_api_key=empty)
    assert (status, body["checks"]["gateway"]["ok"]) == (503, False)


def test_an_outbox_that_waits_is_told(redis_settings: Settings) -> None:
    ready(redis_settings)
    old = utcnow() - timedelta(minutes=2)
    Transaction(
        id="TXN-1",
        status="completed",
        booking_id="B",
        user_id="u",
        amount=1,
        currency="USD",
        payment_method="stripe",
        created_at=old,
        outbox_since=old,
    ).save()
    status, body = ready(redis_settings)
    assert status == 200
    outbox = body["checks"]["outbox"]
    assert not outbox["ok"]
    assert outbox["detail"].startswith("1 transactions have unpublished events, the oldest from 2 min ago")

"""GET /health/ready with every server available, and with each one down."""

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
    response = create_app(settings.model_copy(update=changes)).test_client().get("/health/ready")
    return response.status_code, response.json or {}


@pytest.fixture
def nowhere() -> str:
    return f"127.0.0.1:{free_port()}"


def test_readiness_succeeds_with_every_server_available(broker_settings: Settings) -> None:
    status, body = ready(broker_settings)
    assert (status, body["status"]) == (200, "ready")
    assert list(body["checks"]) == ["mongodb", "redis", "broker", "gateway", "outbox"]
    assert all(check["ok"] for check in body["checks"].values())


def test_readiness_fails_without_mongodb(redis_settings: Settings, nowhere: str) -> None:
    status, body = ready(redis_settings, mongodb_uri=f"mongodb://{nowhere}/x?serverSelectionTimeoutMS=200")
    assert (status, body["status"]) == (503, "not ready")
    assert not body["checks"]["mongodb"]["ok"]


def test_readiness_succeeds_without_redis_or_the_broker(redis_settings: Settings, nowhere: str) -> None:
    status, body = ready(
        redis_settings, redis_url=f"redis://{nowhere}/0", rabbitmq_url=f"amqp://u:hunter2@{nowhere}/"
    )
    assert (status, body["status"]) == (200, "ready")
    assert [body["checks"][name]["ok"] for name in ("redis", "broker")] == [False, False]
    assert "hunter2" not in str(body)


def test_readiness_fails_without_a_gateway_key(redis_settings: Settings) -> None:
    empty = type(redis_settings.payment_gateway_api_key)("")
    status, body = ready(redis_settings, payment_gateway_api_key=empty)
    assert (status, body["checks"]["gateway"]["ok"]) == (503, False)


def test_an_outbox_backlog_is_reported(redis_settings: Settings) -> None:
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

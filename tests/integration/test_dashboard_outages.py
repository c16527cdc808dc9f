"""Every dashboard page reports a database that fails in the middle of the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import pymongo.errors
import pytest
from pymongo.collection import Collection

from app import create_app

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from app.settings import Settings

#: Paths whose pages read payments, notifications, or the audit log.
PATHS = [
    "",
    "/payments",
    "/payments?search=third",
    "/payments/summary",
    "/payments.csv",
    "/payments/TXN-1",
    "/notifications",
    "/notifications?search=jane.doe@example.com",
    "/notifications?reason=refused",
    "/notifications/summary",
    "/notifications.csv",
    "/notifications/0123456789abcdef01234567",
    "/dead-letters",
    "/refunds",
    "/suppressions",
]


@pytest.fixture
def client(redis_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    """A client of a dashboard without keys, whose database refuses every read after the start."""
    app = create_app(redis_settings)
    client = app.test_client()
    assert client.get("/dashboard/payments").status_code == 200

    def fail(*_args: Any, **_options: Any) -> NoReturn:
        raise pymongo.errors.AutoReconnect("connection closed")

    for read in ("find", "aggregate", "find_one", "count_documents"):
        monkeypatch.setattr(Collection, read, fail)
    yield client
    app.extensions["movieapp"].relay.close()


@pytest.mark.parametrize("path", PATHS)
def test_a_page_reports_a_database_that_fails(client: FlaskClient, path: str) -> None:
    response = client.get(f"/dashboard{path}")
    assert response.status_code == 503, response.text[:500]
    assert "unavailable" in response.text

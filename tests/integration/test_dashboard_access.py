"""Sessions of the dashboard, masking, and hostile queries, through Flask's client."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from werkzeug.test import create_environ, run_wsgi_app

from app import create_app
from app.clock import utcnow
from app.dashboard import lists
from app.events.samples import sample
from app.keys.store import create_key, revoke_key
from app.models import Attempt, DashboardSession, Notification, Transaction
from app.operations import dead_letters as operations

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from app.settings import Settings

ADDRESS, PHONE, NAME = "jane.doe@example.com", "+1 415 555 0100", "Jane Q. Doe"


@pytest.fixture
def app(redis_settings: Settings) -> Iterator[Flask]:
    app = create_app(redis_settings.model_copy(update={"auth_required": True}))
    yield app
    app.extensions["movieapp"].relay.close()


def form_token(page: TestResponse) -> str:
    found = re.search(r'name="token" value="([^"]+)"', page.text)
    assert found
    return found[1]


def sign_in(client: FlaskClient, token: str, **form: str) -> TestResponse:
    page = client.get("/dashboard/sign-in")
    return client.post("/dashboard/sign-in", data={"key": token, "token": form_token(page)} | form)


def signed_in(app: Flask, *scopes: str) -> FlaskClient:
    client = app.test_client()
    _, token = create_key("operator", scopes)
    assert sign_in(client, token).status_code == 302
    return client


def copy_of(client: FlaskClient, app: Flask) -> FlaskClient:
    """Return a browser with the same cookie."""
    cookie = client.get_cookie("movieapp_dashboard", path="/dashboard")
    assert cookie
    other = app.test_client()
    other.set_cookie("movieapp_dashboard", cookie.value, path="/dashboard")
    return other


def test_signing_out_invalidates_copies_of_the_cookie(app: Flask) -> None:
    client = signed_in(app, "ops:read")
    copied = copy_of(client, app)
    assert copied.get("/dashboard/payments").status_code == 200
    page = client.get("/dashboard/payments")
    left = client.post("/dashboard/sign-out", data={"token": form_token(page)})
    assert left.status_code == 302
    assert copied.get("/dashboard/payments").status_code == 302
    assert DashboardSession.objects.count() == 0


def test_revoking_a_key_ends_its_sessions_immediately(app: Flask) -> None:
    key, token = create_key("operator", ["ops:read"])
    client, other = app.test_client(), signed_in(app, "ops:read")
    assert sign_in(client, token).status_code == 302
    assert client.get("/dashboard/payments").status_code == 200
    revoke_key(key.id)
    assert client.get("/dashboard/payments").status_code == 302
    assert other.get("/dashboard/payments").status_code == 200


def test_a_session_ends_after_a_working_day(app: Flask) -> None:
    client = signed_in(app, "ops:read")
    DashboardSession.objects.update(set__created_at=utcnow() - timedelta(hours=8, seconds=1))
    assert client.get("/dashboard/payments").status_code == 302


def test_signing_in_discards_the_previous_session(app: Flask) -> None:
    client = app.test_client()
    before = form_token(client.get("/dashboard/sign-in"))
    _, token = create_key("operator", ["ops:read", "ops:write"])
    assert sign_in(client, token).status_code == 302
    act = client.post("/dashboard/dead-letters/act", data={"action": "drop", "id": "x", "token": before})
    assert act.status_code == 403


def test_a_cookie_signed_with_another_key_is_refused(app: Flask, redis_settings: Settings) -> None:
    client = signed_in(app, "ops:read")
    changes = {"auth_required": True, "dashboard_secret_key": SecretStr("another" * 8)}
    other = create_app(redis_settings.model_copy(update=changes))
    assert copy_of(client, other).get("/dashboard/payments").status_code == 302
    other.extensions["movieapp"].relay.close()


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard\r\nSet-Cookie: a=b",
        "/dashboard/payments?search=\n",
        "/dashboard\t",
        "//evil.example",
        "/dashboard\\@evil.example",
        "/dashboards",
        "https://evil.example/dashboard",
        "/payment/methods",
    ],
)
def test_signing_in_redirects_only_to_dashboard_pages(app: Flask, path: str) -> None:
    client = app.test_client()
    _, token = create_key("operator", ["ops:read"])
    assert client.get("/dashboard/sign-in", query_string={"next": path}).status_code == 400
    assert sign_in(client, token, next=path).status_code == 400
    assert client.get("/dashboard/payments").status_code == 302, "and nobody is signed in"


def test_signing_in_redirects_to_the_requested_page(app: Flask) -> None:
    client = app.test_client()
    _, token = create_key("operator", ["ops:read"])
    requested = client.get("/dashboard/payments?search=b%C3%BCro&status=failed")
    page = client.get(requested.location)
    expected = re.search(r'name="next" value="([^"]*)"', page.text)
    assert expected
    response = sign_in(client, token, next=expected[1].replace("&amp;", "&"))
    assert response.location == "/dashboard/payments?search=b%C3%BCro&status=failed"


@pytest.mark.parametrize("before", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "x"])
@pytest.mark.parametrize("path", ["payments", "notifications"])
def test_an_invalid_time_is_refused(app: Flask, path: str, before: str) -> None:
    client = signed_in(app, "ops:read")
    response = client.get(f"/dashboard/{path}", query_string={"before": before})
    assert (response.status_code, "The parameter before must start with a time" in response.text) == (
        400,
        True,
    )


def neighbor(page: str, which: str) -> str:
    """Return the URL of the previous or next page; "" if there is none."""
    link = re.search(rf'rel="{which}" href="([^"]*)"', page)
    return link[1].replace("&amp;", "&") if link else ""


@pytest.mark.parametrize("path", ["payments", "notifications"])
def test_paging_omits_no_record_of_the_same_millisecond(app: Flask, path: str) -> None:
    at = utcnow()
    for number in range(120):
        Transaction(
            id=f"TXN-{number:03}",
            status="completed",
            booking_id=f"BOOK-{number:03}",
            user_id="u",
            amount=1,
            currency="USD",
            payment_method="stripe",
            created_at=at,
        ).save()
        Notification(
            event_id=f"evt_{number}",
            event_type="payment.success",
            notification_type="email",
            status="sent",
            booking_id=f"BOOK-{number:03}",
            event_data={},
            created_at=at,
        ).save()
    client, seen = signed_in(app, "ops:read"), []
    address = f"/dashboard/{path}"
    while address:
        page = client.get(address).text
        seen += re.findall(r">(BOOK-\d{3})<", page)
        address = neighbor(page, "next")
    assert sorted(seen) == [f"BOOK-{number:03}" for number in range(120)]
    backwards: list[str] = []
    address = neighbor(page, "prev")
    while address:
        page = client.get(address).text
        backwards = re.findall(r">(BOOK-\d{3})<", page) + backwards
        address = neighbor(page, "prev")
    assert backwards == seen[: len(backwards)]
    assert len(backwards) == 100


def test_personal_data_is_hidden(app: Flask) -> None:
    reply = f'SMTP rcpt: 550 5.1.1 <{ADDRESS}> no mailbox here for "{NAME}", call {PHONE}'
    event = sample("booking.confirmed") | {
        "user_name": NAME,
        "user_email": ADDRESS,
        "user_id": ADDRESS,
        "movie_title": f"Dune for {ADDRESS}",
        "cinema_name": "Grand <Hall 5>",
        "contact": {"street": "Elm Street 12", ADDRESS: 1},
        "note": "Elm Street 12",
        "tickets": [{"seat": "A1", "code": "code-that-opens-the-door", "holder_name": NAME}],
        "ticket_url": "https://example.com/t/code-that-opens-the-door",
    }
    found = Notification(
        event_id="evt_1",
        event_type="booking.confirmed",
        notification_type="email",
        status="failed",
        booking_id=ADDRESS,
        recipient=ADDRESS,
        subject=f"Tickets for {ADDRESS}",
        error_message=reply,
        attempts=[Attempt(at=utcnow(), outcome="failed", detail=reply)],
        event_data=event,
        created_at=utcnow(),
    ).save()
    Transaction(
        id="TXN-1",
        status="failed",
        booking_id=ADDRESS,
        user_id=ADDRESS,
        amount=1,
        currency="USD",
        payment_method="stripe",
        error_code="CARD_DECLINED",
        contact={"user_email": ADDRESS, "user_phone": PHONE},
        created_at=utcnow(),
    ).save()
    pages = ("notifications", f"notifications/{found.id}", "payments", "payments/TXN-1")
    private = (ADDRESS, "jane.doe", NAME, "Elm Street", PHONE, "555 0100", "code-that-opens-the-door")

    masked = {path: signed_in(app, "ops:read").get(f"/dashboard/{path}").text for path in pages}
    assert {(path, word) for path, page in masked.items() for word in private if word in page} == set()
    detail = masked[f"notifications/{found.id}"]
    for word in ("550 5.1.1", "no mailbox here", "j…@e….com", "Dune for", "&#34;A1&#34;", "evt_1"):
        assert word in detail, word
    full = signed_in(app, "ops:read", "ops:pii").get(f"/dashboard/notifications/{found.id}").text
    assert [word for word in private if word not in full] == ["555 0100"][1:]


def test_search_does_not_match_hidden_fields() -> None:
    def masked(text: str) -> str:
        return text.replace(ADDRESS, "…")

    class Case:
        event_type: Any = "payment.success"
        error = f"550 <{ADDRESS}> no such user"

    case: Any = Case()
    assert operations.Selection(error="jane").takes(case)
    assert not operations.Selection(error="jane", visible=masked).takes(case)
    assert operations.Selection(error="no such user", visible=masked).takes(case)


def test_a_finished_download_frees_its_slot(app: Flask) -> None:
    # As a server does: only the application's return value is closed.
    for _ in range(30):
        environ = create_environ("/dashboard/static/dashboard.css")
        chunks, status, _ = run_wsgi_app(app.wsgi_app, environ, buffered=True)
        assert status == "200 OK"
        assert b"".join(chunks)


def test_a_key_without_pii_cannot_search_for_parts_of_an_address(app: Flask) -> None:
    Notification(
        event_id="evt_1",
        event_type="payment.success",
        notification_type="email",
        status="sent",
        booking_id="BOOK-1",
        recipient=ADDRESS,
        event_data={"movie_title": "Dune"},
        created_at=utcnow(),
    ).save()
    Transaction(
        id="TXN-1",
        status="completed",
        booking_id="BOOK-1",
        user_id="u",
        amount=1,
        currency="USD",
        payment_method="stripe",
        contact={"user_email": ADDRESS},
        created_at=utcnow(),
    ).save()
    masked, full = signed_in(app, "ops:read"), signed_in(app, "ops:read", "ops:pii")

    def finds(client: FlaskClient, path: str, search: str) -> bool:
        page = client.get(f"/dashboard/{path}", query_string={"search": search})
        assert page.status_code == 200
        return "BOOK-1<" in page.text

    for path in ("notifications", "payments"):
        assert finds(full, path, "jane.d")
        assert not finds(masked, path, "jane.d")
        assert finds(masked, path, ADDRESS), "whoever knows it all may ask"
        for words in ("BOOK", "book-1", "dune"):
            assert finds(masked, path, words), (path, words)


def test_csv_contains_no_formulas(app: Flask) -> None:
    for number, hostile in enumerate(('=cmd|"/c calc"!A1', "+1", "-1", "@SUM(1)", "\t=1")):
        Transaction(
            id=f"TXN-{number}",
            status="completed",
            booking_id=hostile,
            user_id="u",
            amount=1234.5,
            currency="USD",
            payment_method="stripe",
            created_at=utcnow(),
        ).save()
    response = signed_in(app, "ops:read", "ops:pii").get("/dashboard/payments.csv")
    rows = list(csv.DictReader(response.text.splitlines()))
    assert len(rows) == 5
    assert {row["booking_id"][0] for row in rows} == {"'"}
    assert {row["amount"] for row in rows} == {"1234.5"}


@pytest.mark.parametrize("name", ["payments", "notifications"])
def test_a_csv_download_with_too_many_rows_is_refused(
    app: Flask, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "_MAX_CSV_ROWS", 2)
    client = signed_in(app, "ops:read")

    def store(number: int) -> None:
        Transaction.collection().insert_one({"_id": f"TXN-{number}", "created_at": utcnow()})
        Notification.collection().insert_one({"event_id": f"evt_{number}", "created_at": utcnow()})

    store(1)
    store(2)
    complete = client.get(f"/dashboard/{name}.csv")
    assert (complete.status_code, len(complete.text.splitlines())) == (200, 3)
    store(3)
    refused = client.get(f"/dashboard/{name}.csv")
    assert (refused.status_code, refused.mimetype) == (422, "text/html")
    assert "Content-Disposition" not in refused.headers
    assert f"More than 2 {name} match" in refused.text
    assert f"movieapp {name} list --csv" in refused.text


def test_an_incomplete_record_is_shown_without_its_missing_fields(app: Flask) -> None:
    Transaction.collection().insert_many(
        [
            {"_id": "TXN-bare"},
            {"_id": "TXN-odd", "created_at": utcnow(), "amount": "x", "history": [{}, 3], "contact": 1},
            {"_id": "TXN-refund", "created_at": utcnow(), "refunds": [{}], "disputes": [{}], "status": 7},
        ]
    )
    Notification.collection().insert_many(
        [{"event_id": f"evt_{number}", "created_at": utcnow(), **fields} for number, fields in enumerate(ODD)]
    )
    client = signed_in(app, "ops:read", "ops:write", "ops:money")
    paths = ["", "payments", "notifications", "payments/summary", "notifications/summary"]
    paths += ["payments.csv", "notifications.csv", "dead-letters"]
    paths += [f"payments/{name}" for name in ("TXN-bare", "TXN-odd", "TXN-refund")]
    paths += [f"notifications/{each['_id']}" for each in Notification.collection().find()]
    assert {path: client.get(f"/dashboard/{path}").status_code for path in paths} == dict.fromkeys(paths, 200)


#: Notifications as no version of the program stores them.
ODD: tuple[dict[str, Any], ...] = (
    {},
    {"notification_type": "email", "template": "nope", "event_data": {"event_type": "x"}},
    {"notification_type": "sms", "event_data": {"event_type": "payment.success"}},
    {"notification_type": "email", "event_data": 7, "attempts": [{}], "status": "?"},
)


@pytest.mark.parametrize(
    ("status", "is_offered"),
    [("sent", True), ("delivered", True), ("undelivered", False), ("bounced", False), ("failed", False)],
)
def test_sending_again_what_was_sent_does_not_override_a_suppression(
    app: Flask, status: str, is_offered: bool
) -> None:
    client = signed_in(app, "ops:read", "ops:write")
    event = sample("booking.cancelled")
    stored = Notification(
        event_id=event["event_id"],
        event_type=event["event_type"],
        notification_type="sms",
        status=status,
        booking_id=event["booking_id"],
        recipient=PHONE,
        template="booking_cancellation",
        event_data=event,
        created_at=utcnow(),
    ).save()
    token = form_token(client.get("/dashboard/notifications"))
    chosen = {"token": token, "id": str(stored.id)}
    page = client.post("/dashboard/notifications/confirm", data=chosen)
    assert ('name="again"' in page.text) == is_offered
    client.post("/dashboard/notifications/act", data=chosen | {"again": "on"})
    stored.reload()
    assert (stored.status, stored.past_suppression) == ("queued", False)

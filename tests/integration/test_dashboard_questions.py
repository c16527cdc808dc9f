"""The on-call operator's questions, answered in at most three clicks, with searches that use indexes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest

from app import create_app
from app.clock import utcnow
from app.events.samples import sample
from app.models import Attempt, Dispute, Notification, Transaction
from app.operations import listing
from app.operations.mail_servers import MailServers
from app.operations.reasons import reason_of
from tests.support.dead_letters import bury, delivery_message

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient

    from app.settings import Settings

ADDRESS = "jane.doe@example.com"
LOST = "SMTP rcpt: 550 5.1.1 <jane.doe@example.com> no such user"


class Visitor:
    """Reads pages and counts clicks."""

    def __init__(self, client: FlaskClient) -> None:
        self._client = client
        self.clicks = -1  # opening the dashboard is not counted
        self.page = ""
        self.go("/dashboard")

    def go(self, address: str) -> None:
        response = self._client.get(address)
        assert response.status_code == 200
        self.page, self.clicks = response.text, self.clicks + 1

    def click(self, words: str) -> None:
        """Follow the first link whose text starts with the given words."""
        links = re.findall(r'<a [^>]*?href="([^"]+)"[^>]*>(.*?)</a>', self.page, re.DOTALL)
        plain = ((href, re.sub(r"<[^>]+>|\s+", " ", text).strip()) for href, text in links)
        self.go(next(unescape(href) for href, text in plain if text.startswith(words)))

    def search(self, path: str, words: str) -> None:
        """Open a list and type a search, which is filtered immediately and counts as one click."""
        self.clicks -= 1
        self.click(path)
        self.go(f"/dashboard/{path.lower()}?search={words}")

    def sees(self, *words: str) -> None:
        assert self.clicks <= 3
        text = unescape(re.sub(r"<[^>]+>|\s+", " ", self.page))
        text = re.sub(r" +", " ", text)
        assert [word for word in words if word not in text] == []


@pytest.fixture
def app(redis_settings: Settings) -> Iterator[Flask]:
    app = create_app(redis_settings)
    now = utcnow()
    for number in range(3):
        payment(f"TXN-unknown{number}", "pending", created_at=now - timedelta(hours=2))
    payment("TXN-stray", "failed", stray_charge="pi_9", error_code="GATEWAY_ERROR", currency="EUR")
    due = now + timedelta(days=3)
    dispute = Dispute(id="dp_1", status="needs_response", amount=20, evidence_due_by=due, at=now)
    payment("TXN-disputed", "completed", disputes=[dispute], contact={"user_email": ADDRESS})
    lost = Notification(
        event_id="evt_1",
        event_type="payment.success",
        notification_type="email",
        template="payment_success",
        status="failed",
        booking_id="B-TXN-disputed",
        recipient=ADDRESS,
        error_message=LOST,
        attempts=[Attempt(at=now, outcome="failed", detail=LOST)],
        event_data=sample("payment.success"),
        created_at=now - timedelta(hours=1),
    ).save()
    bury(redis_settings, "notification.email", [delivery_message(redis_settings, str(lost.id))])
    servers = MailServers(redis_settings)
    servers.works("fallback", "mail.example.org:465", now + timedelta(days=9))
    servers.in_trouble("primary", "smtp.example.com:587", "535 5.7.8 bad credentials", now)
    servers.close()
    yield app
    app.extensions["movieapp"].relay.close()


def payment(name: str, status: str, **fields: Any) -> None:
    common: dict[str, Any] = {"user_id": "u", "amount": 20, "currency": "USD", "created_at": utcnow()}
    common |= {"payment_method": "credit_card", "booking_id": f"B-{name}"}
    Transaction(id=name, status=status, **common | fields).save()


def test_the_eight_questions_take_three_clicks_at_most(app: Flask) -> None:
    client = app.test_client()
    # The first page shows what is broken, why, since when, how much money is affected, and what to do.
    first = Visitor(client)
    first.sees(
        "Payments with an unknown outcome 3 60 USD",
        "Charged although failed 1 20 EUR",
        "Open disputes 1 20 USD",
        "Dead letters in notification.email 1",
        "The primary mail server smtp.example.com:587 is failing",
        "535 5.7.8 bad credentials",
        "The certificate of the fallback mail server mail.example.org:465 expires",
        "550 5.1.1",
        "To look up an outcome now, open the payment",
        "since",
    )
    assert first.clicks == 0

    whom = Visitor(client)
    whom.click("Payments with an unknown outcome")
    whom.sees("3 shown", *(f"B-TXN-unknown{number}" for number in range(3)))
    money = Visitor(client)
    money.go("/dashboard/payments/summary?issue=unknown")
    money.sees("USD 60 in 3")

    todo = Visitor(client)
    todo.click("Dead letters in notification.email")
    todo.sees("no such user", "The address is wrong. Ask the customer, then drop this one.")

    mails = Visitor(client)
    mails.search("Notifications", ADDRESS)
    mails.sees("payment.success", ADDRESS, "failed")
    mails.click("email: payment.success")
    mails.sees("no such user", "Attempts", "The email")

    stray = Visitor(client)
    stray.click("Charged although failed")
    stray.click("TXN-stray")
    stray.sees("20 EUR", "charged although failed", "Refund the charge…")


def test_commands_and_dashboard_show_the_same_reasons(app: Flask) -> None:
    assert reason_of(LOST) == "SMTP rcpt: 550 5.1.1 … no such user"
    page = app.test_client().get("/dashboard/notifications", query_string={"reason": reason_of(LOST)}).text
    assert "B-TXN-disputed" in page
    page = app.test_client().get("/dashboard/notifications", query_string={"reason": "another"}).text
    assert "B-TXN-disputed" not in page


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    ("record", "search"),
    [(Transaction, listing.search_payments), (Notification, listing.search_notifications)],
)
def test_every_query_of_a_search_uses_an_index(record: Any, search: Any) -> None:
    for query in [*search("book-1", personal=True), *search(ADDRESS, personal=False)]:
        found = record.collection().find(query).sort([("created_at", -1), ("_id", -1)]).limit(51)
        plan = str(found.explain()["queryPlanner"]["winningPlan"])
        assert "IXSCAN" in plan, query
        assert "COLLSCAN" not in plan, query


@pytest.mark.usefixtures("app")
def test_moving_money_requires_a_scope_and_a_confirmation(app: Flask) -> None:
    client = app.test_client()
    page = client.get("/dashboard/payments/TXN-stray").text
    token = re.search(r'name="token" value="([^"]+)"', page)
    assert token
    form = {"token": token[1], "action": "refund_stray"}
    requested = client.post("/dashboard/payments/TXN-stray/confirm", data=form)
    assert "Refund the charge of 20 EUR" in requested.text
    impossible = client.post("/dashboard/payments/TXN-stray/confirm", data=form | {"action": "refund"})
    assert impossible.status_code == 400
    for forged in ({"action": "refund_stray"}, form | {"token": "x"}):
        assert client.post("/dashboard/payments/TXN-stray/act", data=forged).status_code == 403

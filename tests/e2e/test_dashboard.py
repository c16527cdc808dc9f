"""/dashboard in a browser: what people see, what they may, and what an attacker may not."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import requests

from app import models
from app.clock import utcnow
from app.events.samples import sample
from app.keys.store import create_key, revoke_key
from app.messaging.depths import queue_depths
from app.messaging.publisher import OutgoingEvent, make_publisher
from app.messaging.queues import QUEUES
from app.models import Attempt, Move, Notification, Refund, Transaction
from tests.support.mail_browser import violations
from tests.support.servers import ApiServer, WorkerProcess
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page, ViewportSize

    from app.settings import Settings
    from tests.support.mail import MailSink

pytestmark = pytest.mark.timeout(240)

HOSTILE = "<script>document.title='taken'</script>\"'><img src=x onerror=document.title='taken'>"
WINDOWS: dict[str, ViewportSize] = {
    "desktop": {"width": 1280, "height": 900},
    "phone": {"width": 360, "height": 760},
}


def fill() -> None:
    """A day of payments, some of everything."""
    now = utcnow()
    for number in range(60):
        at = now - timedelta(minutes=23 * number + 3)
        failed, refunded = number % 9 == 4, number % 11 == 5
        status = "failed" if failed else "partially_refunded" if refunded else "completed"
        booking, event_id = f"BOOK-{number}", f"evt_{number}"
        refunds = [
            Refund(id=f"REF-{number}", status="completed", amount=5, reason="seat broken", created_at=at)
        ]
        steps = [
            Move(at=at, status="pending", actor="api", request_id=f"req_{number}"),
            Move(at=at + timedelta(seconds=1), status=status, actor="api", event_id=event_id),
        ]
        Transaction(
            id=f"TXN-{number:032x}",
            status=status,
            booking_id=booking,
            user_id=HOSTILE if number == 0 else f"user_{number % 7}",
            amount=25 + number,
            currency="EUR" if number % 5 == 0 else "USD",
            payment_method="paypal" if number % 6 == 0 else "credit_card",
            error_code=("CARD_DECLINED" if number % 2 else "INSUFFICIENT_FUNDS") if failed else None,
            amount_refunded=5 if refunded else 0,
            refunds=refunds if refunded else [],
            card_brand="visa",
            card_last_four="4242",
            gateway_id=f"pi_{number}",
            contact={"user_email": "jane.doe@example.com", "user_phone": "+14155550100"},
            created_at=at,
            processed_at=at + timedelta(milliseconds=300 + 17 * number),
            history=steps,
        ).save()
        bounced = number % 13 == 7
        error = "SMTP rcpt: 550 5.1.1 <jane.doe@example.com> no such user" if bounced else None
        Notification(
            event_id=event_id,
            event_type="payment.success",
            notification_type="email",
            template="payment_success",
            status="failed" if bounced else "sent",
            booking_id=booking,
            recipient="jane.doe@example.com",
            subject="Payment received",
            message_id=f"<{number}@example.com>",
            event_data=sample("payment.success") | {"event_id": event_id, "user_name": HOSTILE},
            created_at=at + timedelta(seconds=1),
            sent_at=None if bounced else at + timedelta(seconds=2),
            error_message=error,
            attempts=[
                Attempt(at=at + timedelta(seconds=2), outcome="failed" if bounced else "sent", detail=error)
            ],
        ).save()


@pytest.fixture
def locked(redis_settings: Settings) -> Settings:
    """Keys are required."""
    models.connect(redis_settings)
    return redis_settings.model_copy(update={"auth_required": True})


@pytest.fixture
def api(locked: Settings, tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path, locked)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport=WINDOWS["desktop"], reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(20_000)
    yield page
    context.close()


def key(*scopes: str) -> tuple[str, str]:
    """A key's id and token."""
    made, token = create_key(f"key {uuid.uuid4().hex}", scopes)
    return made.id, token


def sign_in(page: Page, api: ApiServer, token: str) -> None:
    page.goto(f"{api.url}/dashboard")
    assert "/dashboard/sign-in" in page.url
    page.get_by_label("API key").fill(token)
    page.get_by_role("button", name="Sign in").click()


def follow(link: Locator) -> None:
    """Click, and wait for the page it leads to: until then there is the old one, or none."""
    with link.page.expect_navigation():
        link.click()


def dead_letters(settings: Settings) -> int:
    return sum(depth.dead for depth in queue_depths(settings))


def test_pages_are_sound_in_every_window_and_light(api: ApiServer, page: Page, tmp_path: Path) -> None:
    fill()
    sign_in(page, api, key("ops:read")[1])
    page.get_by_role("heading", name="Overview").wait_for()
    [delivery] = Notification.objects(event_id="evt_7")
    pages = {
        "overview": "",
        "payments": "/payments",
        "payment": f"/payments/TXN-{5:032x}",
        "notifications": "/notifications?status=failed",
        "notification": f"/notifications/{delivery.id}",
        "dead letters": "/dead-letters",
        "nothing": "/payments/TXN-0",
    }
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    found: dict[str, list[Any]] = {}
    for name, path in pages.items():
        page.goto(f"{api.url}/dashboard{path}")
        for window, size in WINDOWS.items():
            page.set_viewport_size(size)
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.screenshot(path=tmp_path / f"{name}.{window}.{scheme}.png", full_page=True)
                sideways = page.evaluate("document.documentElement.scrollWidth > innerWidth")
                problems = [*violations(page, whole_page=True), *(["scrolls sideways"] if sideways else [])]
                if problems:
                    found[f"{name}, {window}, {scheme}"] = problems
        assert "taken" not in page.title()
        assert "jane.doe@example.com" not in page.content()
        assert "4155550100" not in page.content()
    assert found == {}
    assert [complaint for complaint in complaints if "404" not in complaint] == []


def test_what_is_looked_for_is_found(api: ApiServer, page: Page) -> None:
    fill()
    sign_in(page, api, key("ops:read", "ops:pii")[1])
    follow(page.get_by_role("link", name="Payments"))
    assert page.locator("tbody tr").count() == 50
    follow(page.get_by_role("link", name="Older"))
    assert page.locator("tbody tr").count() == 10
    for words in ("BOOK-5", "pi_5", "REF-5", f"TXN-{5:032x}"):
        page.get_by_label("Search").fill(words)
        follow(page.get_by_role("button", name="Search"))
        assert page.get_by_text("BOOK-5", exact=True).count() == 1
        assert page.locator("tbody tr").count() == 1
    follow(page.locator("tbody a"))
    for words in ("jane.doe@example.com", "REF-5", "seat broken", "req_5", "visa ending in 4242"):
        assert words in page.content()
    follow(page.get_by_role("link", name="email: payment.success"))
    page.get_by_text("<5@example.com>").wait_for()
    follow(page.get_by_role("link", name="Notifications"))
    page.get_by_label("Search").fill("jane.doe@example.com")
    page.get_by_label("Status").select_option("failed")
    follow(page.get_by_role("button", name="Search"))
    assert page.locator("tbody tr").count() == 5
    page.get_by_label("Search").fill("$where")
    follow(page.get_by_role("button", name="Search"))
    page.get_by_text("Nothing has this id").wait_for()


def test_dead_letters_are_replayed_after_a_second_thought(
    locked: Settings, api: ApiServer, page: Page, mail_sink: MailSink, tmp_path: Path
) -> None:
    sending = locked.model_copy(update=mail_sink.settings)
    refusing = "550 5.7.1 not from you"
    mail_sink.replies = [refusing, refusing]
    with WorkerProcess(tmp_path, sending) as worker:
        worker.wait_until_it_works()
        publisher = make_publisher(locked)
        for number in range(2):
            event = sample("payment.success") | {"event_id": f"evt_{number}", "user_phone": None}
            publisher.publish(OutgoingEvent(event["event_id"], "payment.success", json.dumps(event)))
        publisher.close()
        wait_for(lambda: dead_letters(locked) == 2, 30, "nothing died")

        sign_in(page, api, key("ops:read", "ops:write")[1])
        page.get_by_role("link", name="Dead letters").click()
        page.get_by_text("not from you").first.wait_for()
        page.screenshot(path=tmp_path / "dead letters.png")
        page.get_by_role("checkbox").first.check()
        page.get_by_role("button", name="Replay chosen").click()
        page.get_by_role("heading", name="Replay 1 dead letter?").wait_for()
        assert dead_letters(locked) == 2
        page.get_by_role("button", name="Replay them").click()
        page.get_by_role("status").get_by_text("1 replayed").wait_for()
        mail_sink.wait(1)
        assert dead_letters(locked) == 1
        page.get_by_role("checkbox").first.check()
        page.get_by_role("button", name="Drop chosen").click()
        page.get_by_role("button", name="Drop them").click()
        page.get_by_role("status").get_by_text("1 dropped").wait_for()
        assert dead_letters(locked) == 0
    assert len(mail_sink.mails) == 1


def test_who_may_not_is_kept_out(locked: Settings, api: ApiServer) -> None:
    def visit(path: str, session: requests.Session, **form: str) -> requests.Response:
        method = "POST" if form else "GET"
        url = f"{api.url}/dashboard{path}"
        return session.request(method, url, data=form, allow_redirects=False, timeout=10)

    def token_in(answer: requests.Response) -> str:
        found = re.search(r'name="token" value="([^"]+)"', answer.text)
        assert found
        return found[1]

    def signed_in(api_key: str) -> requests.Session:
        session = requests.Session()
        token = token_in(visit("/sign-in", session))
        answer = visit("/sign-in", session, key=api_key, token=token)
        assert (answer.status_code, answer.headers["Location"]) == (302, "/dashboard")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert api_key not in cookie
        return session

    nobody = requests.Session()
    for path in ("", "/payments", "/payments/TXN-1", "/notifications", "/dead-letters"):
        answer = visit(path, nobody)
        assert (answer.status_code, "/sign-in" in answer.headers.get("Location", "")) == (302, True)
    token = token_in(visit("/sign-in", nobody))
    assert visit("/sign-in", nobody, key="mk_wrong", token=token).status_code == 401
    assert visit("/sign-in", nobody, key="mk_wrong", token="forged").status_code == 403
    shop_id, shop = key("payments:write", "payments:read")
    assert visit("/sign-in", nobody, key=shop, token=token).status_code == 401

    reader_id, reader = key("ops:read")
    looking = signed_in(reader)
    page = visit("/dead-letters", looking)
    assert page.status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert "unsafe-inline" not in policy
    # It may look and no more; and nobody's forms but ours are taken.
    own = token_in(visit("/sign-in", looking))
    assert visit("/dead-letters/act", looking, action="drop", id="x", token=own).status_code == 403
    acting = signed_in(key("ops:read", "ops:write")[1])
    for forged in ("", own):
        answer = visit("/dead-letters/act", acting, action="drop", id="x", token=forged)
        assert answer.status_code == 403
    fine = token_in(visit("/sign-in", acting))
    assert visit("/dead-letters/act", acting, action="drop", id="x", token=fine).status_code == 302
    # The API's keys are no way around: a cookie opens no API, and a revoked key closes the dashboard.
    answer = looking.get(f"{api.url}/payment/status/TXN-1", timeout=10)
    assert answer.status_code == 401
    revoke_key(reader_id)
    assert visit("/payments", looking).status_code == 302
    assert visit("/payments", acting).status_code == 200
    assert shop_id != reader_id


def test_without_keys_everybody_may(redis_settings: Settings, tmp_path: Path) -> None:
    models.connect(redis_settings)
    api = ApiServer(tmp_path, redis_settings)
    api.start()
    session = requests.Session()
    page = session.get(f"{api.url}/dashboard", timeout=20)
    assert (page.status_code, "Sign out" in page.text) == (200, False)
    letters = session.get(f"{api.url}/dashboard/dead-letters", timeout=20)
    assert letters.status_code == 200
    assert QUEUES[0] in letters.text
    # Still nobody else's forms.
    forged = session.post(f"{api.url}/dashboard/dead-letters/act", data={"action": "drop"}, timeout=20)
    assert forged.status_code == 403
    api.stop()

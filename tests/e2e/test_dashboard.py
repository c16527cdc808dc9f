"""/dashboard in a browser: what operators see and may do, and what attackers can't."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, get_args

import pytest
import requests
from bson import BSON
from bson.errors import BSONError
from playwright.sync_api import expect

from app import declines, models
from app.abuse.attempts import make_guard
from app.channels import ChannelName
from app.clock import utcnow
from app.events.samples import sample
from app.keys.store import create_key, revoke_key
from app.messaging.depths import queue_depths
from app.messaging.publisher import OutgoingEvent, make_publisher
from app.messaging.queues import QUEUES
from app.models import Attempt, Move, Notification, Refund, Transaction
from app.suppressions import SuppressionReason, make_suppressions
from tests.support.dead_letters import bury
from tests.support.hostile import CORPUS, ODD
from tests.support.mail_browser import violations
from tests.support.servers import ApiServer, WorkerProcess
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page, ViewportSize

    from app.settings import Settings
    from tests.support.mail import MailSink


HOSTILE = "<script>document.title='taken'</script>\"'><img src=x onerror=document.title='taken'>"
WINDOWS: dict[str, ViewportSize] = {
    "desktop": {"width": 1280, "height": 900},
    "phone": {"width": 360, "height": 760},
}

Scheme = Literal["light", "dark"]
#: Window and light.
LOOKS: list[tuple[str, Scheme]] = [(window, scheme) for window in WINDOWS for scheme in get_args(Scheme)]
#: Of pages that share their parts with others.
FEW: list[tuple[str, Scheme]] = [("desktop", "light"), ("phone", "dark")]


def fill() -> None:
    """Store a day of payments of every kind."""
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
    """Settings that require keys."""
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
    """Return a key's id and token."""
    created, token = create_key(f"key {uuid.uuid4().hex}", scopes)
    return created.id, token


def sign_in(page: Page, api: ApiServer, token: str) -> None:
    page.goto(f"{api.url}/dashboard")
    assert "/dashboard/sign-in" in page.url
    page.get_by_label("API key").fill(token)
    page.get_by_role("button", name="Sign in").click()


def follow(link: Locator) -> None:
    """Click, and wait for the next page, because the old page is still shown until then."""
    with link.page.expect_navigation():
        link.click()


def dead_letters(settings: Settings) -> int:
    return sum(depth.dead for depth in queue_depths(settings))


def test_pages_have_no_layout_faults_at_any_size_or_color_scheme(
    api: ApiServer, page: Page, tmp_path: Path
) -> None:
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
    complaints = complaints_of(page)
    found: dict[str, list[str]] = {}
    for name, path in pages.items():
        page.goto(f"{api.url}/dashboard{path}")
        found |= unsound(page, name, tmp_path)
        assert "jane.doe@example.com" not in page.content()
        assert "4155550100" not in page.content()
    assert found == {}
    assert [complaint for complaint in complaints if "404" not in complaint] == []


def complaints_of(page: Page) -> list[str]:
    """What the browser's console will complain about."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


def unsound(
    page: Page, name: str, directory: Path, looks: Sequence[tuple[str, Scheme]] = LOOKS
) -> dict[str, list[str]]:
    """What is wrong with the open page, by window and light. Leaves pictures of it."""
    found: dict[str, list[str]] = {}
    for window, scheme in looks:
        page.set_viewport_size(WINDOWS[window])
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=directory / f"{name}.{window}.{scheme}.png", full_page=True)
        sideways = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        problems = [*violations(page, whole_page=True), *(["scrolls sideways"] if sideways else [])]
        if problems:
            found[f"{name}, {window}, {scheme}"] = problems
    assert "taken" not in page.title()
    page.set_viewport_size(WINDOWS["desktop"])
    return found


def test_pages_that_change_something_are_sound(
    locked: Settings, api: ApiServer, page: Page, tmp_path: Path
) -> None:
    fill()
    now = utcnow()
    common = {"user_id": "user_1", "amount": 42, "currency": "USD", "payment_method": "credit_card"}
    common |= {"created_at": now - timedelta(hours=1)}
    Transaction(id="TXN-open", status="requires_action", booking_id="B-1", gateway_id="pi_1", **common).save()
    Transaction(id="TXN-lost", status="pending", booking_id="B-2", **common).save()
    Transaction(id="TXN-stray", status="failed", booking_id="B-3", stray_charge="pi_3", **common).save()
    bury(locked, "notification.payment_events", [json.dumps(sample("payment.success")).encode()] * 2)
    make_suppressions(locked).suppress(
        ChannelName.EMAIL, "jane.doe@example.com", reason=SuppressionReason.STOP, source="an SMS", now=now
    )
    guard = make_guard(locked)
    for number in range(9):
        attempt = guard.begin(
            f"TXN-{number}", booking_id="B-9", user_id="u9", customer_ip="203.0.113.7", token=None
        )
        attempt.declined(declines.GENERIC)
    sign_in(page, api, key("ops:read", "ops:write", "ops:money")[1])
    complaints = complaints_of(page)
    found: dict[str, list[str]] = {}

    def opened(path: str) -> None:
        page.goto(f"{api.url}/dashboard{path}")

    def requested(name: str, button: str) -> None:
        with page.expect_navigation():
            page.get_by_role("button", name=button).click()
        found.update(unsound(page, name, tmp_path, FEW))

    for name in ("attempts", "refunds", "suppressions"):
        opened(f"/{name}")
        page.locator("main").wait_for()
        found |= unsound(page, name, tmp_path, FEW)
    opened(f"/payments/TXN-{1:032x}")
    page.get_by_label("Reason").fill("The projector failed")
    requested("refund", "Refund…")
    for payment, button in (
        ("open", "Cancel the payment…"),
        ("lost", "Settle now…"),
        ("stray", "Refund the charge…"),
    ):
        opened(f"/payments/TXN-{payment}")
        requested(payment, button)
    opened("/notifications")
    page.locator("[data-all]").check()
    requested("send again", "Send again…")
    for button in ("Replay selected…", "Drop selected…"):
        opened("/dead-letters")
        page.locator("[data-all]").check()
        requested(button, button)
    opened("/refunds")
    page.get_by_label("Transaction or booking ids").fill("BOOK-1\nBOOK-5\nTXN-unknown")
    requested("plan", "Show the plan")
    opened("/refunds")
    found |= unsound(page, "runs", tmp_path, FEW)
    assert found == {}
    assert complaints == []


def test_search_finds_records(api: ApiServer, page: Page) -> None:
    fill()
    sign_in(page, api, key("ops:read", "ops:pii")[1])
    follow(page.get_by_role("link", name="Payments", exact=True))
    assert page.locator("tbody tr").count() == 50
    follow(page.get_by_role("link", name="Older"))
    assert page.locator("tbody tr").count() == 10
    follow(page.get_by_role("link", name="Newer"))
    assert page.locator("tbody tr").count() == 50
    # The list is filtered while typing, and nothing else changes.
    found = page.locator("#list tbody tr")
    for words, count in (("book-5", 11), ("BOOK-58", 1), ("REF-5", 1), (f"TXN-{5:032x}", 1)):
        page.get_by_role("searchbox").fill(words)
        page.wait_for_url(f"**search={words}")
        expect(found).to_have_count(count)
        page.locator(".summary").first.wait_for()
    assert page.get_by_text("BOOK-5", exact=True).count() == 1
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.title().startswith("30")
    for words in ("jane.doe@example.com", "REF-5", "seat broken", "req_5", "visa ending in 4242"):
        assert words in page.content()
    follow(page.locator("tbody").get_by_role("link", name="email: payment.success"))
    page.get_by_text("Ids", exact=True).click()
    page.get_by_text("<5@example.com>").wait_for()
    page.frame_locator("iframe").get_by_text("Payment").first.wait_for()
    follow(page.get_by_role("navigation", name="Sections").get_by_role("link", name="Notifications"))
    page.get_by_role("searchbox").fill("jane.d")
    page.get_by_label("Status").select_option("failed")
    expect(found).to_have_count(5)
    page.get_by_role("list", name="By reason").get_by_role("link").click()
    page.wait_for_url("**reason=**")
    expect(found).to_have_count(5)
    page.get_by_role("searchbox").fill("$where")
    page.get_by_text("No notifications match").wait_for()


def test_dead_letters_are_replayed_after_confirmation(
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
        page.get_by_role("link", name="Dead letters", exact=True).click()
        page.get_by_text("not from you").first.wait_for()
        page.screenshot(path=tmp_path / "dead letters.png")
        page.get_by_role("checkbox", name=re.compile("Select [0-9a-f]{12}")).first.check()
        page.get_by_role("button", name="Replay selected").click()
        page.get_by_role("heading", name="Replay 1 dead letter?").wait_for()
        expect(page.get_by_role("listitem").filter(has_text="not from you")).to_have_text(re.compile(r"1 × "))
        assert dead_letters(locked) == 2
        page.get_by_role("button", name="Replay them").click()
        page.get_by_role("status").get_by_text("1 replayed").wait_for()
        mail_sink.wait(1)
        assert dead_letters(locked) == 1
        page.get_by_role("checkbox", name=re.compile("Select all")).check()
        page.get_by_role("button", name="Drop selected").click()
        page.get_by_role("button", name="Drop them").click()
        page.get_by_role("status").get_by_text("1 dropped").wait_for()
        # The page shows the progress of the replayed dead letter.
        page.get_by_role("heading", name="Results of replays").wait_for()
        page.locator("#followed-replays").get_by_text("sent", exact=True).first.wait_for()
        assert dead_letters(locked) == 0
    assert len(mail_sink.mails) == 1


def test_a_key_without_the_scope_is_refused(locked: Settings, api: ApiServer) -> None:
    def visit(path: str, session: requests.Session, **form: str) -> requests.Response:
        method = "POST" if form else "GET"
        url = f"{api.url}/dashboard{path}"
        return session.request(method, url, data=form, allow_redirects=False, timeout=10)

    def token_in(response: requests.Response) -> str:
        found = re.search(r'name="token" value="([^"]+)"', response.text)
        assert found
        return found[1]

    def signed_in(api_key: str) -> requests.Session:
        session = requests.Session()
        token = token_in(visit("/sign-in", session))
        response = visit("/sign-in", session, key=api_key, token=token)
        assert (response.status_code, response.headers["Location"]) == (302, "/dashboard")
        cookie = response.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert api_key not in cookie
        return session

    nobody = requests.Session()
    for path in ("", "/payments", "/payments/TXN-1", "/notifications", "/dead-letters"):
        response = visit(path, nobody)
        assert (response.status_code, "/sign-in" in response.headers.get("Location", "")) == (302, True)
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
    # This key can only read, and only our own forms are accepted.
    own = token_in(visit("/sign-in", looking))
    assert visit("/dead-letters/act", looking, action="drop", id="x", token=own).status_code == 403
    acting = signed_in(key("ops:read", "ops:write")[1])
    for forged in ("", own):
        response = visit("/dead-letters/act", acting, action="drop", id="x", token=forged)
        assert response.status_code == 403
    fine = token_in(visit("/sign-in", acting))
    assert visit("/dead-letters/act", acting, action="drop", id="x", token=fine).status_code == 302
    # A cookie grants no access to the API, and revoking the key ends access to the dashboard.
    response = looking.get(f"{api.url}/payment/status/TXN-1", timeout=10)
    assert response.status_code == 401
    revoke_key(reader_id)
    assert visit("/payments", looking).status_code == 302
    assert visit("/payments", acting).status_code == 200
    assert shop_id != reader_id


def test_without_keys_the_dashboard_is_open(redis_settings: Settings, tmp_path: Path) -> None:
    models.connect(redis_settings)
    api = ApiServer(tmp_path, redis_settings)
    api.start()
    session = requests.Session()
    page = session.get(f"{api.url}/dashboard", timeout=20)
    assert (page.status_code, "Sign out" in page.text) == (200, False)
    letters = session.get(f"{api.url}/dashboard/dead-letters", timeout=20)
    assert letters.status_code == 200
    assert QUEUES[0] in letters.text
    # Forms of other sites are still refused.
    forged = session.post(f"{api.url}/dashboard/dead-letters/act", data={"action": "drop"}, timeout=20)
    assert forged.status_code == 403
    api.stop()


def test_hostile_records_execute_no_script(redis_settings: Settings, page: Page, tmp_path: Path) -> None:
    models.connect(redis_settings)
    now = utcnow()
    for number, (name, body) in enumerate((CORPUS | ODD).items()):
        words = f"{HOSTILE} {name} {body[:200].decode('latin-1')}"
        try:
            event = json.loads(body)
            BSON.encode({"event": event})
        except (ValueError, RecursionError, OverflowError, UnicodeError, BSONError):
            event = {"x": words}
        Transaction.collection().insert_one(
            {
                "_id": f"TXN-{number}",
                "status": words,
                "booking_id": words,
                "user_id": words,
                "currency": words,
            }
            | {
                "amount": 1,
                "currency": words,
                "error_code": words,
                "contact": {"user_email": words},
                "created_at": now,
            }
            | {"history": [{"at": now, "status": words, "note": words}], "payment_method": words}
        )
        Notification.collection().insert_one(
            {"event_id": f"evt_{number}", "event_type": words, "notification_type": "email", "status": words}
            | {"template": "booking_confirmation", "recipient": words, "subject": words, "event_data": event}
            | {"error_message": words, "created_at": now, "attempts": [{"at": now, "detail": words}]}
        )
    bury(redis_settings, QUEUES[0], list((CORPUS | ODD).values()))
    api = ApiServer(tmp_path, redis_settings)
    api.start()
    failures: list[str] = []
    page.on("response", lambda response: failures.append(response.url) if response.status >= 500 else None)
    page.on("dialog", lambda dialog: failures.append(dialog.message))
    paths = ["", "/payments", "/notifications", "/dead-letters"]
    paths += [f"/payments/TXN-{number}" for number in range(len(CORPUS | ODD))]
    paths += [f"/notifications/{each['_id']}" for each in Notification.collection().find({}, ["_id"])]
    for path in paths:
        page.goto(f"{api.url}/dashboard{path}")
        assert page.title() != "taken"
    api.stop()
    assert failures == []

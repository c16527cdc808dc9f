"""The suppression list for operators: `movieapp suppressions`, the dashboard's page, and `movieapp check`."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Iterator

import pytest
from flask import Flask
from pydantic import SecretStr

from app import create_app, models
from app.channels import ChannelName
from app.clock import utcnow
from app.models import Notification, Suppression
from app.operations.audit import find_actions
from app.operations.health import PROBES, Finding, run_probe
from app.settings import Settings
from app.suppressions import SuppressionReason, make_suppressions
from tests.integration.test_dashboard_access import form_token, signed_in
from tests.support.commands import movieapp

JANE = "jane.doe@example.com"


@pytest.fixture
def stack(redis_settings: Settings) -> Settings:
    models.connect(redis_settings)
    return redis_settings


def run(settings: Settings, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = movieapp(settings, "suppressions", *arguments)
    assert done.returncode == code, done.stderr
    return done


def fill(settings: Settings, count: int) -> None:
    for number in range(count):
        make_suppressions(settings).suppress(
            ChannelName.EMAIL,
            f"{number}@example.com",
            reason=SuppressionReason.HARD_BOUNCE,
            source="test",
            now=utcnow(),
        )


def test_an_operator_adds_finds_and_removes_an_address(stack: Settings) -> None:
    run(stack, "add", JANE, "--reason", "asked on the phone")
    done = run(stack, "list", "--address", JANE.upper(), "--json")
    [entry] = json.loads(done.stdout)
    assert (entry["channel"], entry["reason"], entry["hint"]) == ("email", "operator", "…@example.com")
    assert entry["note"] == "asked on the phone"
    assert JANE not in done.stdout
    assert run(stack, "list", "--address", JANE, "--reason", "stop").stdout == ""
    run(stack, "remove", entry["id"], "--reason", "asked again")
    assert Suppression.objects.count() == 0
    again = run(stack, "remove", JANE, "--reason", "asked again", code=1)
    assert "not suppressed" in again.stderr
    actions = find_actions(action="suppressions")
    assert {(each.action, each.target) for each in actions} == {
        ("suppressions.add", entry["id"]),
        ("suppressions.remove", entry["id"]),
    }
    assert JANE not in str([each.to_mongo() for each in actions])


def test_a_truncated_list_says_so_and_csv_is_complete(stack: Settings) -> None:
    fill(stack, 3)
    cut = run(stack, "list", "--limit", "2")
    assert "Only the first 2 are shown" in cut.stderr
    rows = list(csv.DictReader(io.StringIO(run(stack, "list", "--csv").stdout)))
    assert len(rows) == 3
    assert {row["reason"] for row in rows} == {"hard_bounce"}
    none = run(stack, "list", "--channel", "sms")
    assert (none.stdout, none.stderr) == ("", "No suppressions match these filters.\n")


def test_an_invalid_address_is_refused(stack: Settings) -> None:
    for wrong in ("jane", "jane@@example.com", "4155550123"):
        run(stack, "add", wrong, "--reason", "x", code=1)
    run(stack, "add", JANE, code=2)
    assert Suppression.objects.count() == 0


@pytest.fixture
def app(stack: Settings) -> Iterator[Flask]:
    app = create_app(stack.model_copy(update={"auth_required": True}))
    yield app
    app.extensions["movieapp"].relay.close()


def test_the_dashboard_lists_searches_adds_and_removes_suppressions(app: Flask, stack: Settings) -> None:
    client = signed_in(app, "ops:read", "ops:write")
    page = client.get("/dashboard/suppressions")
    assert "No suppressed recipients." in page.text
    form = {"token": form_token(page), "address": "+1 415 555 0123", "reason": "asked on the phone"}
    page = client.post("/dashboard/suppressions/add", data=form, follow_redirects=True)
    assert "The address is suppressed." in page.text
    found = client.get("/dashboard/suppressions", query_string={"q": "+14155550123"}).text
    assert "asked on the phone" in found
    other = client.get("/dashboard/suppressions", query_string={"q": JANE}).text
    assert "This address is not suppressed." in other
    entry = Suppression.objects.get()
    form = {"token": form_token(page), "id": entry.id, "reason": "asked again"}
    page = client.post("/dashboard/suppressions/remove", data=form, follow_redirects=True)
    assert "The recipient gets messages again." in page.text
    assert Suppression.objects.count() == 0
    assert [each.surface for each in find_actions(action="suppressions")] == ["dashboard", "dashboard"]


def test_changing_the_list_requires_ops_write(app: Flask, stack: Settings) -> None:
    fill(stack, 1)
    client = signed_in(app, "ops:read")
    page = client.get("/dashboard/suppressions")
    assert "hard bounce" in page.text
    assert "…@example.com" in page.text, "the stored hint is masked already"
    assert "Suppress a recipient" not in page.text
    form = {"token": form_token(page), "address": JANE, "reason": "x"}
    assert client.post("/dashboard/suppressions/add", data=form).status_code == 403
    form = {"token": form_token(page), "id": Suppression.objects.get().id, "reason": "x"}
    assert client.post("/dashboard/suppressions/remove", data=form).status_code == 403
    assert Suppression.objects.count() == 1


def test_a_form_without_a_reason_or_token_changes_nothing(app: Flask) -> None:
    client = signed_in(app, "ops:read", "ops:write")
    token = form_token(client.get("/dashboard/suppressions"))
    for form in ({"token": token, "address": JANE, "reason": " "}, {"address": JANE, "reason": "x"}):
        assert client.post("/dashboard/suppressions/add", data=form).status_code >= 400
    assert Suppression.objects.count() == 0


def findings(settings: Settings) -> list[Finding]:
    return run_probe("suppressions", PROBES["suppressions"], settings)


def test_check_reports_a_missing_key_in_production(stack: Settings) -> None:
    assert {each.level for each in findings(stack)} == {"ok"}
    production = stack.model_copy(update={"app_env": "production"})
    assert [each.level for each in findings(production)] == ["warning", "ok"]
    keyed = production.model_copy(update={"suppression_key": SecretStr("k" * 32)})
    assert [each.what for each in findings(keyed)] == ["0 recipients suppressed"]


def test_check_reports_that_suppression_is_paused(stack: Settings) -> None:
    for number in range(10):
        Notification(
            event_id=f"evt_{number}",
            event_type="booking.confirmed",
            notification_type="email",
            status="bounced",
            returned_at=utcnow(),
            event_data={},
            created_at=utcnow(),
        ).insert()
    assert [each.level for each in findings(stack)][-1] == "bad"

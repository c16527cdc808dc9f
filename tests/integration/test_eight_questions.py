"""An operator's eight questions, each answered by at most two commands: see docs/runbook.md."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from app import models
from app.clock import utcnow
from app.events.samples import sample
from app.models import Attempt, Move, Notification, Transaction
from tests.support.commands import movieapp
from tests.support.dead_letters import bury, delivery_message

if TYPE_CHECKING:
    from app.settings import Settings

REPLY = "550 5.7.60 <{0}>: Client does not have permissions to send as this sender"


@pytest.fixture
def night(redis_settings: Settings) -> Settings:
    """A state in which two customers' mails were refused and two payments have no outcome."""
    models.connect(redis_settings)
    hour_ago = utcnow() - timedelta(hours=1)
    letters = []
    for number, (email, currency) in enumerate(
        (("jane.doe@example.com", "USD"), ("john@example.com", "EUR"))
    ):
        booking = f"BOOK-{number}"
        Transaction(
            id=f"TXN-{number}",
            status="pending",
            booking_id=booking,
            user_id=f"user_{number}",
            amount=Decimal("25.50"),
            currency=currency,
            payment_method="credit_card",
            created_at=hour_ago,
            history=[Move(at=hour_ago, status="pending", actor="api")],
        ).insert()
        event = sample("booking.confirmed") | {"event_id": f"evt_{number}", "booking_id": booking}
        reply = REPLY.format(email)
        failed = Notification(
            event_id=event["event_id"],
            event_type=event["event_type"],
            notification_type="email",
            status="failed",
            booking_id=booking,
            recipient=email,
            event_data=event,
            created_at=hour_ago,
            error_message=reply,
            attempts=[Attempt(at=hour_ago, outcome="failed", detail=reply)],
        )
        failed.insert()
        letters.append(delivery_message(redis_settings, str(failed.id)))
    bury(redis_settings, "notification.email", letters)
    return redis_settings


def ask(settings: Settings, *command: str, code: int = 0) -> str:
    done = movieapp(settings, *command)
    assert done.returncode == code, (command, done.stderr)
    return done.stdout


def ask_json(settings: Settings, *command: str) -> Any:
    return json.loads(ask(settings, *command, "--json"))


def test_each_question_takes_at_most_two_commands(night: Settings) -> None:
    # What is broken, and what should I do?
    checked = ask(night, "check", code=1)
    assert "2 in notification.email" in checked
    assert "Run movieapp dead-letters list" in checked
    # Why? Since when?
    [reason] = ask_json(night, "notifications", "reasons", "--status", "failed")
    assert reason["reason"].startswith("550 5.7.60 …: Client does not have permissions")
    assert (reason["count"], reason["recipients"], reason["bookings"]) == (2, 2, 2)
    assert reason["first"] <= reason["last"]
    # Whom does it affect?
    rows = list(
        csv.DictReader(io.StringIO(ask(night, "notifications", "list", "--status", "failed", "--csv")))
    )
    assert {row["recipient"] for row in rows} == {"jane.doe@example.com", "john@example.com"}
    # How much money?
    totals = ask_json(night, "payments", "totals", "--status", "pending")
    assert [(each["currency"], each["amount"], each["count"]) for each in totals] == [
        ("EUR", "25.50", 1),
        ("USD", "25.50", 1),
    ]
    # What should I do? A dry run first, then the action.
    assert "2 would be replayed" in ask(night, "dead-letters", "replay", "--error", "5.7.60", "--dry-run")
    # All mails to this address.
    [mail] = ask_json(night, "notifications", "list", "--recipient", "JANE.DOE@example.com")
    assert mail["booking_id"] == "BOOK-0"
    # "I got no mail."
    story = ask(night, "trace", "Jane.Doe@example.com")
    assert "550 5.7.60" in story
    assert "TXN-0" in story


def test_replay_and_drop_report_that_nothing_matches(night: Settings) -> None:
    nothing = movieapp(night, "dead-letters", "replay", "--error", "no such error")
    assert (nothing.returncode, nothing.stderr) == (
        1,
        "Error: Nothing replayed: none of the 2 dead letters match.\n",
    )
    unfiltered = movieapp(night, "dead-letters", "replay")
    assert (unfiltered.returncode, "pass --yes" in unfiltered.stderr) == (2, True)
    assert ask(night, "dead-letters", "drop", "--dry-run") == "2 would be dropped.\n"
    assert ask(night, "dead-letters", "drop", "--yes") == "2 of 2 dropped.\n"
    assert movieapp(night, "dead-letters", "replay", "--yes").returncode == 1

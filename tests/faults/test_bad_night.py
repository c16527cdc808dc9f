"""Play the night of docs/runbook.md: find, fix, and replay with operators' commands only.

In the evening mails began to go out from an address that the mail server does not let this account use; later
its password was changed. The first are dead letters, the others wait.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pika
import pytest
from pydantic import SecretStr

from app import models
from app.events.samples import sample
from app.models import Notification
from app.settings import Settings
from tests.support.commands import movieapp
from tests.support.events import publish
from tests.support.servers import WorkerProcess
from tests.support.smtpd import PASSWORD, Smtpd, certificate, content_of, run
from tests.support.stripe import StripeSimulator
from tests.support.wait import wait_for

ALLOWED = "tickets@example.com"
NEW_PASSWORD = "staple battery"

EVENING, NIGHT = ("evt_1", "evt_2"), ("evt_3", "evt_4", "evt_5")


@pytest.fixture
def smtpd(tmp_path: Path) -> Iterator[Smtpd]:
    with run("starttls", certificate(tmp_path, "localhost")) as server:
        server.sender = ALLOWED
        yield server


def payments(*ids: str) -> list[dict[str, Any]]:
    return [
        sample("payment.success") | {"event_id": event_id, "booking_id": f"BOOK-{event_id}"}
        for event_id in ids
    ]


def requested(settings: Settings, *command: str, code: int = 0) -> Any:
    """Run a command and return its JSON. Checks the exit code, and that nothing else is printed."""
    done = movieapp(settings, *command, "--json")
    assert done.returncode == code, (command, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def checked(settings: Settings, code: int) -> dict[str, tuple[str, str]]:
    """Run `movieapp check`; return check → level and text."""
    found = requested(settings, "check", code=code)
    return {each["check"]: (each["level"], each["what"]) for each in found}


def statuses() -> Counter[str]:
    return Counter(Notification.objects.scalar("status"))


def waiting(settings: Settings) -> int:
    """Count the messages in the queue of mails and its delay queue."""
    queue = f"{settings.namespace}notification.email"
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        channel = connection.channel()
        names = (queue, f"{queue}.DQ")
        return sum(channel.queue_declare(name, passive=True).method.message_count for name in names)


def test_every_mail_is_sent_once_after_a_night_of_outages(
    rabbit_settings: Settings, stripe_simulator: StripeSimulator, smtpd: Smtpd, tmp_path: Path
) -> None:
    smtp = {
        "smtp_server": "localhost",
        "smtp_port": smtpd.port,
        "smtp_security": "starttls",
        "smtp_ca_file": tmp_path / "both.pem",
        "smtp_username": "user",
        "smtp_password": SecretStr(PASSWORD),
        "from_email": "noreply@elsewhere.example.com",
    }
    wrong = rabbit_settings.model_copy(update=smtp | stripe_simulator.settings)
    models.connect(wrong)

    def found(status: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = requested(wrong, "notifications", "list", "--status", status)
        return rows

    with WorkerProcess(tmp_path / "evening", wrong) as worker:
        worker.wait_until_it_works()
        publish(wrong, *payments(*EVENING))
        wait_for(lambda: statuses() == {"failed": 2}, 30, lambda: worker.output())
        smtpd.password = NEW_PASSWORD
        smtpd.hang_up()
        publish(wrong, *payments(*NIGHT))
        wait_for(lambda: statuses() == {"failed": 2, "retrying": 3}, 30, lambda: worker.output())
        assert "the mail server refuses our login" in worker.log.read_text()

        # What has failed?
        night = checked(wrong, code=1)
        assert night["smtp"][0] == "bad"
        assert "535" in night["smtp"][1]
        assert "app password" in night["smtp"][1]
        assert night["dead letters"] == ("bad", "2 in notification.email")

        # Who is affected, and since when?
        email = requested(wrong, "stats", "--since", "12h")["channels"]["email"]
        assert email["by_status"] == {"failed": 2, "retrying": 3}
        assert email["success_rate"] == 0
        assert {row["error"].partition(":")[0] for row in found("retrying")} <= {"SMTP auth", "not tried"}
        assert all("535" in row["error"] for row in found("retrying"))
        letters = requested(wrong, "dead-letters", "list")
        assert [letter["status"] for letter in letters] == ["failed", "failed"]
        letter = requested(wrong, "dead-letters", "show", letters[0]["id"])
        assert "5.7.60 Client does not have permissions to send as this sender" in letter["error"]
        assert [each["outcome"] for each in letter["attempts"]] == ["failed"]

        # The settings are fixed one by one, and each is tested before the worker gets it.
        step = requested(wrong, "smtp-check", code=1)["failed"]
        assert step["step"] == "auth"
        half = wrong.model_copy(update={"smtp_password": SecretStr(NEW_PASSWORD)})
        step = requested(half, "smtp-check", "--to", "jane.doe@example.com", code=1)["failed"]
        assert (step["step"], "FROM_EMAIL" in step["advice"]) == ("mail", True)
        right = half.model_copy(update={"from_email": ALLOWED})
        assert requested(right, "smtp-check", "--to", "jane.doe@example.com")["failed"] is None
    assert smtpd.mails == []
    [first, *_] = found("retrying")

    with WorkerProcess(tmp_path / "morning", right) as worker:
        worker.wait_until_it_works()
        replayed = requested(
            right, "dead-letters", "replay", "--queue", "notification.email", "--error", "5.7.60"
        )
        assert replayed == {"replayed": 2, "left": {}, "dry_run": False}
        # Held mails are sent automatically. The mail of a customer on the phone is resent immediately.
        movieapp(right, "notifications", "resend", first["id"])
        wait_for(lambda: len(smtpd.mails) == 5, 90, lambda: worker.output())
        wait_for(lambda: waiting(right) == 0, 60, "delayed messages of mails that were sent")
        well = checked(right, code=0)
    assert well["smtp"][0] == well["dead letters"][0] == "ok"
    sent = [message_from_bytes(content_of(mail)) for mail in smtpd.mails]
    assert len({mail["Message-ID"] for mail in sent}) == len(sent) == 5
    assert sorted(row["booking_id"] for row in found("sent")) == [f"BOOK-{name}" for name in EVENING + NIGHT]

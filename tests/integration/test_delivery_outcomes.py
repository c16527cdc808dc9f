"""The outcome of a mail when the server misbehaves: a published event, a worker on RabbitMQ, real sockets.

The same table is in docs/delivery.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from pydantic import SecretStr

from actors.channels.email.render import Renderer
from actors.circuit import Circuit
from actors.declare import worker_broker
from app import models
from app.events.samples import sample
from app.messaging.publisher import OutgoingEvent, RabbitPublisher
from app.models import Notification
from app.settings import Settings
from tests.support.smtpd import CUT, IN_THE_MIDST, LAST_WORDS, SILENCE, Smtpd, run
from tests.support.wait import wait_for

ROOT = Path(__file__).parents[2]
EVENT: dict[str, Any] = sample("payment.success")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        server: what it does.
        tries: the outcome of each, in order; the last is the delivery's status.
        why: for the reader.
        script: what `Smtpd` answers.
        security: and the certificate's name, if any.
        changes: to the settings.
        large: the mail is larger than what the sockets hold.
        handed_over: how often the server got the whole mail.
    """

    server: str
    tries: str
    why: str
    script: dict[str, list[str]] = field(default_factory=dict)
    security: tuple[str, str] = ("none", "")
    changes: dict[str, Any] = field(default_factory=dict)
    large: bool = False
    handed_over: int = 1

    def __str__(self) -> str:
        return f"| {self.server} | {self.tries} | {self.why} |"


#: The retry period ends as soon as a mail has been held once.
BRIEFLY = {"smtp_retry_hours": 1 / 36_000}

ROWS = (
    Row(
        "greets too late",
        "sent",
        "held, because the worker submitted nothing",
        {"connect": [SILENCE]},
        changes={"smtp_timeout": 0.3},
    ),
    Row(
        "421 at connect",
        "sent",
        "held, because the worker submitted nothing",
        {"connect": ["421 4.3.2 busy"]},
    ),
    Row(
        "454 at STARTTLS",
        "sent",
        "held, because the worker does not fall back to an unencrypted connection",
        {"starttls": ["454 4.7.0 TLS not available"]},
        ("starttls", "localhost"),
    ),
    Row(
        "535 at AUTH",
        "sent",
        "held while the worker retries the login at growing intervals",
        {},
        ("ssl", "localhost"),
        {"smtp_username": "user", "smtp_password": SecretStr("new password")},
    ),
    Row(
        "450 at RCPT, then accepts",
        "retrying, sent",
        "greylisting: the server accepts a later attempt",
        {"rcpt": ["450 4.2.0 greylisted"]},
    ),
    Row(
        "550 at RCPT",
        "failed",
        "the recipient does not exist, so the email immediately becomes a dead letter",
        {"rcpt": ["550 5.1.1 no such user"]},
        handed_over=0,
    ),
    Row(
        "552 at DATA",
        "failed",
        "the email is too large, so it immediately becomes a dead letter",
        {"data": ["552 5.3.4 message too big"]},
        handed_over=0,
    ),
    Row(
        "552 after DATA",
        "failed",
        "the email is too large, so it immediately becomes a dead letter",
        {"message": ["552 5.3.4 message too big"]},
    ),
    Row(
        "550 5.4.5 after DATA, then accepts",
        "sent",
        "held until Gmail's daily quota resets",
        {"message": ["550 5.4.5 Daily user sending limit exceeded"]},
        handed_over=2,
    ),
    Row(
        "454 after DATA, then accepts",
        "sent",
        "held until the relay's quota resets",
        {"message": ["454 4.7.0 daily quota"]},
        handed_over=2,
    ),
    Row(
        "504 5.5.2 at RCPT because of the EHLO name, then accepts",
        "sent",
        "held, because SMTP_EHLO_NAME has to be corrected",
        {"rcpt": ["504 5.5.2 <web>: Helo command rejected: need fully-qualified hostname"]},
    ),
    Row(
        "432 at MAIL, then accepts",
        "sent",
        "held, and the worker then opens fewer connections at a time (Exchange's connection limit)",
        {"mail": ["432 4.3.2 Concurrent connections limit exceeded"]},
    ),
    Row(
        "drops the connection in the middle of DATA",
        "sent",
        "held, because the server did not get the end of the email",
        {"data": [IN_THE_MIDST]},
        large=True,
    ),
    Row(
        "drops the connection after DATA, before its reply",
        "uncertain",
        "the server may have accepted the email, so only an operator can send it again",
        {"message": [CUT]},
    ),
    Row(
        "sends no reply after DATA",
        "uncertain",
        "the server may have accepted the email, although it sent no reply within three times SMTP_TIMEOUT",
        {"message": [SILENCE]},
        changes={"smtp_timeout": 0.3},
    ),
    Row(
        "drops the connection after 250",
        "sent",
        "the server has already accepted the email",
        {"message": [LAST_WORDS]},
    ),
    Row("refuses QUIT", "sent", "the server has already accepted the email", {"quit": ["500 5.5.1 what?"]}),
    Row(
        "has an expired certificate",
        "failed",
        "held for SMTP_RETRY_HOURS, because the certificate is not trusted, and then dead-lettered",
        security=("starttls", "expired"),
        changes=BRIEFLY,
        handed_over=0,
    ),
    Row(
        "has a certificate for another name",
        "failed",
        "held for SMTP_RETRY_HOURS, because the certificate is not trusted, and then dead-lettered",
        security=("ssl", "elsewhere"),
        changes=BRIEFLY,
        handed_over=0,
    ),
)


@pytest.fixture
def pem(request: pytest.FixtureRequest) -> Callable[[str], Path | None]:
    def pem(name: str) -> Path | None:
        return request.getfixturevalue(f"{name}_pem") if name else None

    return pem


@contextmanager
def working(settings: Settings) -> Any:
    """A worker in this process, and a publisher for it."""
    models.connect(settings)
    broker = worker_broker(settings)
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
    worker.start()
    publisher = RabbitPublisher(settings)
    try:
        yield lambda event: publisher.publish(
            OutgoingEvent(event["event_id"], event["event_type"], json.dumps(event))
        )
    finally:
        publisher.close()
        worker.stop()
        broker.close()


def deliver(settings: Settings, smtpd: Smtpd, row: Row, letters: Callable[[], int]) -> Notification:
    """Publish the event twice, and return its delivery when all work is done.

    Args:
        settings: with `smtpd` as the mail server.
        smtpd: behaves as `row` says.
        row: of the table.
        letters: how many dead letters there are.
    """

    def finished() -> Notification | None:
        found: Notification | None = Notification.objects(status__in=("sent", "failed", "uncertain")).first()
        return found

    with working(settings) as publish:
        publish(EVENT)
        if settings.smtp_username:
            wait_for(lambda: smtpd.count("auth") >= 2, 10, "the wrong password was not tried again")
            retrying = Notification.objects(status="retrying")
            wait_for(retrying.count, 10, "the delivery does not wait for a right password")
            smtpd.password = "new password"
        wait_for(finished, 20, row.server)
        publish(EVENT)
        publish(EVENT | {"event_id": "evt_next", "user_email": None})
        wait_for(lambda: Notification.objects(event_id="evt_next").first(), 10, "the next event")
        found: Notification = Notification.objects.get(event_id=EVENT["event_id"])
        wait_for(lambda: letters() or found.status == "sent", 10, "no letter")
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.server)
def test_the_documented_outcome(
    rabbit_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    dead_letters: Callable[[Settings, str], int],
    pem: Callable[[str], Path | None],
    row: Row,
) -> None:
    monkeypatch.setattr("actors.deliver.delay", lambda retries: 20)
    monkeypatch.setattr("actors.deliver.spread", lambda seconds: int(min(seconds, 0.5) * 1_000))
    intervals: Any = {"intervals": (0.1, 0.1), "login_intervals": (0.1, 0.1)}
    monkeypatch.setattr("actors.channels.email.smtp.Circuit", partial(Circuit, **intervals))
    if row.large:
        render = Renderer.render
        padding = f"{'x' * 900}\n" * 14_000  # more than the buffers of both sockets can hold
        monkeypatch.setattr(Renderer, "render", lambda *args: replace(render(*args), text=padding))
    security, name = row.security
    certificate = pem(name)
    with run(security, certificate) as smtpd:
        smtpd.script = {command: list(replies) for command, replies in row.script.items()}
        smtp = {
            "smtp_server": "localhost",
            "smtp_port": smtpd.port,
            "smtp_security": security,
            "smtp_ca_file": certificate,
            "smtp_timeout": 5.0,
        }
        settings = rabbit_settings.model_copy(update=smtp | row.changes)
        record = deliver(settings, smtpd, row, lambda: dead_letters(settings, "notification.email"))

    assert ", ".join(attempt.outcome for attempt in record.attempts) == row.tries
    assert record.status == record.attempts[-1].outcome
    assert smtpd.count("message") == row.handed_over
    assert len(smtpd.mails) == (record.status == "sent")
    assert dead_letters(settings, "notification.email") == (record.status != "sent")


def test_the_documented_table_matches_the_tests() -> None:
    lines = (ROOT / "docs/delivery.md").read_text().splitlines()
    start = lines.index("| The server… | Outcomes | Why |") + 2
    assert lines[start : start + len(ROWS)] == [str(row) for row in ROWS]

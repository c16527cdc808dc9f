"""`movieapp smtp-check` and `test-send`, through their real entry point, against a scripted mail server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from app.settings import Settings
from tests.support.commands import movieapp
from tests.support.mail import running_mail_sink
from tests.support.ports import free_port
from tests.support.smtpd import PASSWORD, Smtpd, run
from tests.support.smtpd import settings as towards

if TYPE_CHECKING:
    from tests.support.mail import MailSink

LOGIN = {"smtp_username": "user", "smtp_password": SecretStr(PASSWORD)}


def check(settings: Settings, *options: str) -> tuple[int, dict[str, Any]]:
    done = movieapp(settings, "smtp-check", "--json", *options)
    assert done.stdout, done.stderr
    output: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, output


def test_every_step_is_timed_and_no_mail_is_sent(localhost_pem: Path) -> None:
    with run("starttls", localhost_pem) as smtpd:
        changes = LOGIN | {"smtp_security": "starttls", "smtp_ca_file": localhost_pem}
        code, output = check(towards(smtpd, **changes), "--to", "jane.doe@example.com")
    assert [step["step"] for step in output["steps"]] == [
        "connect",
        "ehlo",
        "starttls",
        "ehlo",
        "auth",
        "mail",
        "rcpt",
    ]
    assert all(step["milliseconds"] >= 0 for step in output["steps"])
    assert output["tls"].startswith("TLSv1.")
    assert output["failed"] is None
    assert (code == 1) == (output["certificate_expires"] < "2026-12-07")
    assert smtpd.mails == []
    assert smtpd.count("data") == 0


@pytest.mark.parametrize(
    ("script", "changes", "step", "words"),
    [
        ({}, {"smtp_port": free_port()}, "connect", "SMTP_PORT"),
        ({"connect": ["421 4.3.2 busy"]}, {}, "greeting", "busy"),
        ({}, {"smtp_security": "starttls"}, "starttls", "SMTP_SECURITY=ssl"),
        ({"mail": ["553 5.7.1 not yours"]}, {}, "mail", "FROM_EMAIL"),
        ({"rcpt": ["550 5.1.1 no such user"]}, {}, "rcpt", "recipient"),
    ],
)
def test_the_failed_step_is_named_with_its_fix(
    smtpd: Smtpd, script: dict[str, list[str]], changes: dict[str, Any], step: str, words: str
) -> None:
    smtpd.script = {command: replies * 2 for command, replies in script.items()}
    settings = towards(smtpd).model_copy(update=changes)
    code, output = check(settings, "--to", "jane.doe@example.com")
    assert (code, output["failed"]["step"]) == (1, step)
    assert words in f"{output['failed']['reason']} {output['failed']['advice']}"
    shown = movieapp(settings, "smtp-check", "--to", "jane.doe@example.com")
    assert shown.returncode == 1
    assert "Failed: SMTP" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_wrong_password_gives_app_password_advice_and_is_not_shown(localhost_pem: Path) -> None:
    with run("ssl", localhost_pem) as smtpd:
        wrong = {"smtp_username": "user", "smtp_password": SecretStr("wr0ng-secret")}
        settings = towards(smtpd, **wrong, smtp_security="ssl", smtp_ca_file=localhost_pem)
        shown = movieapp(settings, "smtp-check")
    assert shown.returncode == 1
    assert "535" in shown.stderr
    assert "app password" in shown.stderr
    assert "wr0ng-secret" not in shown.stdout + shown.stderr


def test_an_expired_certificate_is_named(expired_pem: Path) -> None:
    with run("ssl", expired_pem) as smtpd:
        code, output = check(towards(smtpd, smtp_security="ssl", smtp_ca_file=expired_pem))
    assert code == 1
    assert "certificate has expired" in output["failed"]["reason"]
    expired = datetime.fromisoformat(output["certificate_expires"])
    assert expired < datetime.now(UTC)
    assert f"expired on {expired:%Y-%m-%d}" in output["failed"]["advice"]


def test_a_sample_mail_arrives() -> None:
    with running_mail_sink() as sink:
        sent = movieapp(_towards(sink), "test-send", "payment_success", "--to", "a@example.com")
        assert sent.returncode == 0, sent.stderr
        (mail,) = sink.mails
    assert mail["To"] == "a@example.com"
    assert sent.stdout.startswith("Accepted by 127.0.0.1: Payment received: $30.00")
    assert mail["Message-ID"] in sent.stdout


def test_errors_are_one_line(smtpd: Smtpd) -> None:
    smtpd.script = {"rcpt": ["550 5.1.1 no such user"]}
    refused = movieapp(towards(smtpd), "test-send", "payment_success", "--to", "a@example.com")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert "550" in refused.stderr
    assert movieapp(towards(smtpd), "test-send", "nothing", "--to", "a@example.com").returncode == 2


def _towards(sink: MailSink) -> Settings:
    return Settings(_env_file=None, **sink.settings)

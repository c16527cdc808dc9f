"""Delivery to a real Postfix: TLS, login, its name check, its greylisting."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest

from actors.channels.email.errors import AuthenticationFailed
from actors.channels.email.server import Server
from actors.channels.email.smtp import Transport
from actors.circuit import Circuit
from actors.errors import Postponed, TemporaryFailure
from tests.support.mail import MailSink
from tests.support.postfix import PASSWORD, USER, Postfix, greylisting
from tests.support.smtpd import Smtpd, mail, settings


@pytest.fixture
def postfix(
    localhost_pem: Path, mail_sink: MailSink, lacking: Callable[[str], NoReturn]
) -> Iterator[Postfix]:
    if reason := Postfix.lacks():
        lacking(reason)
    # Not in pytest's directory, which other users can't enter.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, greylisting() as policy:
        Path(folder).chmod(0o755)
        server = Postfix(Path(folder), localhost_pem, mail_sink.settings["smtp_port"], policy)
        server.start()
        yield server
        server.stop()


def to(postfix: Postfix, pem: Path, **changes: Any) -> Transport:
    smtpd = Smtpd()
    smtpd.loop.close()
    smtpd.port = postfix.port
    ours: dict[str, Any] = {
        "smtp_security": "starttls",
        "smtp_ca_file": pem,
        "smtp_username": USER,
        "smtp_password": PASSWORD,
        "smtp_ehlo_name": "web-1.example.com",
    }
    server = Server.of(settings(smtpd, **ours | changes))
    return Transport(server, connect_wait_seconds=None, circuit=Circuit(intervals=(0.0, 0.0)))


@pytest.mark.parametrize("mechanism", ["auto", "login", "cram-md5"])
def test_a_greylisted_mail_is_deferred_and_then_delivered(
    postfix: Postfix, localhost_pem: Path, mail_sink: MailSink, mechanism: str
) -> None:
    with closing(to(postfix, localhost_pem, smtp_auth=mechanism)) as transport:
        with pytest.raises(TemporaryFailure, match=r"SMTP rcpt: 450 .*greylisted"):
            transport.send(mail())
        for _ in range(3):
            assert transport.send(mail()).code == 250
    arrived = mail_sink.wait(3)
    assert {message["Message-ID"] for message in arrived} == {"<abc@example.com>"}


def test_a_wrong_password_is_a_refused_login(postfix: Postfix, localhost_pem: Path) -> None:
    with pytest.raises(AuthenticationFailed, match="SMTP auth: 535"):
        to(postfix, localhost_pem, smtp_password="wrong").send(mail())


def test_a_refused_ehlo_name_holds_the_mail_and_names_the_setting(
    postfix: Postfix, localhost_pem: Path
) -> None:
    transport = to(postfix, localhost_pem, smtp_ehlo_name="web")
    with closing(transport), pytest.raises(Postponed, match=r"504 5\.5\.2 .*check SMTP_EHLO_NAME"):
        transport.send(mail())


def test_without_a_login_postfix_does_not_relay_and_the_mail_is_held(
    postfix: Postfix, localhost_pem: Path
) -> None:
    transport = to(postfix, localhost_pem, smtp_username="", smtp_password="")
    with closing(transport), pytest.raises(Postponed, match="SMTP rcpt: 5"):
        transport.send(mail())

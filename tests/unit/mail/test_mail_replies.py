"""What an SMTP reply means for the mail."""

import pytest

from actors import errors as delivery
from actors.channels.email.errors import (
    AuthenticationFailed,
    PermanentFailure,
    SmtpFailure,
    TemporaryFailure,
    TooManyConnections,
    Uncertain,
)
from actors.channels.email.replies import RULES, Phase, Reply, failure


@pytest.mark.parametrize(
    ("phase", "code", "text", "error"),
    [
        # By the first digit.
        (Phase.RCPT, 450, "4.2.0 greylisted", TemporaryFailure),
        (Phase.MAIL, 421, "4.7.0 try again later", TemporaryFailure),
        (Phase.AFTER_DATA, 451, "4.3.0 local error", TemporaryFailure),
        (Phase.AFTER_DATA, 452, "4.2.2 over quota", TemporaryFailure),
        (Phase.RCPT, 550, "5.1.1 no such user", PermanentFailure),
        (Phase.RCPT, 553, "no", PermanentFailure),
        (Phase.RCPT, 500, "syntax error", PermanentFailure),
        (Phase.RCPT, 599, "no", PermanentFailure),
        (Phase.RCPT, 400, "later", TemporaryFailure),
        (Phase.AFTER_DATA, 552, "5.3.4 message too big", PermanentFailure),
        (Phase.AFTER_DATA, 554, "5.7.1 rejected as spam", PermanentFailure),
        # Temporary whatever the digit says.
        (Phase.AFTER_DATA, 550, "5.4.5 Daily user sending limit exceeded", TemporaryFailure),
        (Phase.RCPT, 552, "5.2.2 mailbox full", TemporaryFailure),
        (Phase.GREETING, 554, "no SMTP service here", TemporaryFailure),
        (Phase.EHLO, 550, "bad name", TemporaryFailure),
        (Phase.STARTTLS, 554, "5.7.0 no TLS here", TemporaryFailure),
        (Phase.RCPT, 550, "5.2.2 mailbox full", TemporaryFailure),
        (Phase.RCPT, 552, "5.2.3 message too big", PermanentFailure),
        (Phase.MAIL, 551, "5.4.5 no quota", PermanentFailure),
        (Phase.RCPT, 450, "4.3.2 too many concurrent SMTP connections", TooManyConnections),
        (Phase.MAIL, 451, "Too Many Sessions", TooManyConnections),
        (Phase.MAIL, 452, "4.3.2 too many simultaneous connections", TooManyConnections),
        (Phase.RCPT, 452, "4.5.3 too many recipients", TemporaryFailure),
        (Phase.RCPT, 550, "too many connections", PermanentFailure),
        (Phase.AFTER_DATA, 432, "4.3.2 STOREDRV.ClientSubmit; sender thread limit", TooManyConnections),
        (Phase.GREETING, 421, "4.7.0 localhost too many connections from 192.0.2.1", TooManyConnections),
        # The settings are wrong.
        (Phase.AUTH, 535, "5.7.8 Username and Password not accepted", AuthenticationFailed),
        (Phase.AUTH, 504, "unknown mechanism", AuthenticationFailed),
        (Phase.MAIL, 530, "5.7.0 Authentication Required", AuthenticationFailed),
        (Phase.AUTH, 534, "5.7.9 Authentication mechanism is too weak", AuthenticationFailed),
        (Phase.MAIL, 534, "5.7.9 Please log in with your web browser", AuthenticationFailed),
        (Phase.MAIL, 535, "5.7.3 Authentication unsuccessful", AuthenticationFailed),
        (Phase.AUTH, 538, "5.7.11 Encryption required", AuthenticationFailed),
        (Phase.MAIL, 538, "5.7.11 Encryption required", AuthenticationFailed),
        (Phase.RCPT, 454, "4.7.0 Relay access denied", TemporaryFailure),
        (Phase.RCPT, 454, "4.7.1 try later", TemporaryFailure),
        (Phase.RCPT, 554, "5.7.1 <a@example.com>: Relay access denied", PermanentFailure),
        (Phase.RCPT, 454, "4.7.1 <a@example.com>: Relay access denied", AuthenticationFailed),
        (Phase.AUTH, 454, "4.7.0 Temporary authentication failure", TemporaryFailure),
        # No SMTP at all.
        (Phase.MAIL, -1, "", TemporaryFailure),
        (Phase.DATA, 250, "ok?", TemporaryFailure),
        (Phase.AFTER_DATA, -1, "HTTP/1.1 400 Bad Request", Uncertain),
    ],
)
def test_replies(phase: Phase, code: int, text: str, error: type[SmtpFailure]) -> None:
    raised = failure(phase, Reply.of(code, text))
    assert type(raised) is error
    assert (raised.phase, raised.code, raised.reply) == (phase, code, text)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.why)
def test_every_row_says_why(rule: object) -> None:
    assert RULES.count(rule) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TemporaryFailure, delivery.TemporaryFailure),
        (PermanentFailure, delivery.PermanentFailure),
        (TooManyConnections, delivery.TemporaryFailure),
        (AuthenticationFailed, delivery.Postponed),
        (Uncertain, delivery.Uncertain),
    ],
)
def test_each_tells_the_delivery_what_to_do(
    error: type[SmtpFailure], kind: type[delivery.DeliveryError]
) -> None:
    assert issubclass(error, kind)


def test_a_refused_login_advises_an_app_password() -> None:
    error = AuthenticationFailed("auth", 535, "5.7.8 not accepted")
    assert str(error).startswith("SMTP auth: 535 5.7.8 not accepted. Check SMTP_USERNAME and SMTP_PASSWORD.")
    assert "app password" in str(error)


def test_words_of_many_lines_become_one() -> None:
    assert Reply.of(550, b"5.1.1 no\n5.1.1 such \xff user").text == "5.1.1 no 5.1.1 such \ufffd user"

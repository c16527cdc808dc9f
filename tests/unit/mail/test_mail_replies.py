"""The meaning of an SMTP reply for the mail."""

import pytest

from actors.channels.email.errors import AuthenticationFailed, smtp_error
from actors.channels.email.replies import RULES, Phase, Reply, failure
from actors.errors import (
    DeliveryError,
    PermanentFailure,
    Postponed,
    TemporaryFailure,
    TooManyConnections,
    Uncertain,
)


@pytest.mark.parametrize(
    ("phase", "code", "text", "error"),
    [
        # Failures of the recipient.
        (Phase.RCPT, 450, "4.2.0 greylisted", TemporaryFailure),
        (Phase.RCPT, 451, "4.7.1 Greylisting in action, please come back later", TemporaryFailure),
        (Phase.RCPT, 450, "try again", TemporaryFailure),
        (Phase.AFTER_DATA, 452, "4.2.2 over quota", TemporaryFailure),
        (Phase.RCPT, 452, "4.2.2 mailbox quota exceeded", TemporaryFailure),
        (Phase.RCPT, 450, "4.2.1 receiving mail at a rate limit exceeded", TemporaryFailure),
        (Phase.RCPT, 552, "5.2.2 mailbox full", TemporaryFailure),
        (Phase.RCPT, 552, "User mail quota exceeded", TemporaryFailure),
        (Phase.AFTER_DATA, 552, "mailbox quota exceeded", TemporaryFailure),
        (Phase.RCPT, 452, "mailbox message limit exceeded", TemporaryFailure),
        (Phase.RCPT, 550, "<jane@example.com>: user is over quota", TemporaryFailure),
        # Failures of the message.
        (Phase.RCPT, 550, "5.1.1 no such user", PermanentFailure),
        (Phase.RCPT, 550, "5.1.1 <helo@example.com>: Recipient address rejected", PermanentFailure),
        (
            Phase.RCPT,
            504,
            "5.5.2 <jane>: Recipient address rejected: need fully-qualified address",
            PermanentFailure,
        ),
        (Phase.RCPT, 553, "no", PermanentFailure),
        (Phase.RCPT, 500, "syntax error", PermanentFailure),
        (Phase.RCPT, 599, "no", PermanentFailure),
        (Phase.RCPT, 400, "later", TemporaryFailure),
        (Phase.AFTER_DATA, 552, "5.3.4 message too big", PermanentFailure),
        (Phase.AFTER_DATA, 554, "5.7.1 rejected as spam", PermanentFailure),
        # A code that only starts like the one of a row.
        (Phase.AFTER_DATA, 554, "5.2.252 SendAsDenied", PermanentFailure),
        (Phase.RCPT, 550, "5.4.52 refused", PermanentFailure),
        (Phase.RCPT, 550, "5.1.80 refused", PermanentFailure),
        # Failures of the connection.
        (Phase.MAIL, 421, "4.7.0 try again later", Postponed),
        (Phase.GREETING, 554, "no SMTP service here", Postponed),
        (Phase.EHLO, 550, "bad name", Postponed),
        (Phase.STARTTLS, 454, "4.7.0 TLS not available", Postponed),
        (Phase.AUTH, 454, "4.7.0 Temporary authentication failure", Postponed),
        (Phase.STARTTLS, 554, "5.7.0 no TLS here", Postponed),
        (Phase.RCPT, 552, "5.2.3 message too big", PermanentFailure),
        (Phase.MAIL, 551, "5.4.5 no quota", PermanentFailure),
        (Phase.RCPT, 450, "4.3.2 too many concurrent SMTP connections", TooManyConnections),
        (Phase.MAIL, 451, "Too Many Sessions", TooManyConnections),
        (Phase.MAIL, 452, "4.3.2 too many simultaneous connections", TooManyConnections),
        (Phase.RCPT, 452, "4.5.3 too many recipients", TemporaryFailure),
        (Phase.RCPT, 550, "too many connections", PermanentFailure),
        (Phase.RCPT, 550, "5.2.2 mailbox full", TemporaryFailure),
        (Phase.AFTER_DATA, 432, "4.3.2 STOREDRV.ClientSubmit; sender thread limit", TooManyConnections),
        (Phase.GREETING, 421, "4.7.0 localhost too many connections from 192.0.2.1", TooManyConnections),
        (Phase.AFTER_DATA, 451, "4.3.0 local error", Postponed),
        (Phase.MAIL, 452, "4.3.1 Insufficient system storage", Postponed),
        # Limits of the server.
        (Phase.AFTER_DATA, 454, "4.7.0 daily quota", Postponed),
        (Phase.AFTER_DATA, 550, "5.4.5 Daily user sending limit exceeded", Postponed),
        (Phase.RCPT, 550, "Daily user sending quota exceeded", Postponed),
        (Phase.MAIL, 552, "mail quota exceeded", Postponed),
        (Phase.RCPT, 450, "4.7.1 hourly limit exceeded", Postponed),
        (Phase.MAIL, 554, "5.7.0 too many messages", Postponed),
        # Failures of our settings.
        (Phase.AUTH, 535, "5.7.8 Username and Password not accepted", AuthenticationFailed),
        (Phase.AUTH, 504, "unknown mechanism", AuthenticationFailed),
        (Phase.MAIL, 530, "5.7.0 Authentication Required", AuthenticationFailed),
        (Phase.AUTH, 534, "5.7.9 Authentication mechanism is too weak", AuthenticationFailed),
        (Phase.MAIL, 534, "5.7.9 Please log in with your web browser", AuthenticationFailed),
        (Phase.MAIL, 535, "5.7.3 Authentication unsuccessful", AuthenticationFailed),
        (Phase.AUTH, 538, "5.7.11 Encryption required", AuthenticationFailed),
        (Phase.MAIL, 538, "5.7.11 Encryption required", AuthenticationFailed),
        (Phase.RCPT, 454, "4.7.0 Relay access denied", Postponed),
        (Phase.RCPT, 454, "4.7.1 try later", Postponed),
        (Phase.RCPT, 454, "4.7.1 <a@example.com>: Relay access denied", AuthenticationFailed),
        (Phase.RCPT, 554, "5.7.1 <a@example.com>: Relay access denied", Postponed),
        (Phase.RCPT, 504, "5.5.2 <web>: Helo command rejected: need fully-qualified hostname", Postponed),
        (Phase.RCPT, 504, "5.5.2 need fully-qualified hostname", Postponed),
        (Phase.RCPT, 450, "4.7.1 <web>: Helo command rejected: Host not found", Postponed),
        (Phase.MAIL, 550, "5.1.8 <a@b>: Sender address rejected: Domain not found", Postponed),
        (
            Phase.MAIL,
            550,
            "5.7.60 SMTP; Client does not have permissions to send as this sender",
            PermanentFailure,
        ),
        (Phase.RCPT, 553, "5.7.1 Sender address rejected: not owned by user shop", PermanentFailure),
        # Not an SMTP server.
        (Phase.MAIL, -1, "", Postponed),
        (Phase.DATA, 250, "ok?", Postponed),
        (Phase.AFTER_DATA, -1, "HTTP/1.1 400 Bad Request", Uncertain),
    ],
)
def test_each_reply_has_its_outcome(phase: Phase, code: int, text: str, error: type[DeliveryError]) -> None:
    raised = failure(phase, Reply.of(code, text))
    assert type(raised) is error
    assert (raised.phase, raised.code, raised.reply) == (phase, code, text)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.explanation)
def test_every_row_gives_its_reason(rule: object) -> None:
    assert RULES.count(rule) == 1


@pytest.mark.parametrize(
    ("text", "server_wide"),
    [
        ("5.4.5 Daily user sending limit exceeded", True),
        # Possibly about one recipient, so mails to others continue.
        ("5.7.1 <a@example.com>: Relay access denied", False),
    ],
)
def test_only_failures_that_affect_every_mail_stop_other_mails(text: str, server_wide: bool) -> None:
    raised = failure(Phase.RCPT, Reply.of(550, text))
    assert isinstance(raised, Postponed)
    assert raised.server_wide is server_wide


def test_a_refused_login_advises_an_app_password() -> None:
    error = smtp_error(AuthenticationFailed, "auth", 535, "5.7.8 not accepted")
    assert str(error).startswith("SMTP auth: 535 5.7.8 not accepted: check SMTP_USERNAME and SMTP_PASSWORD;")
    assert "app password" in str(error)


def test_a_multiline_reply_becomes_one_line() -> None:
    assert Reply.of(550, b"5.1.1 no\n5.1.1 such \xff user").text == "5.1.1 no 5.1.1 such \ufffd user"

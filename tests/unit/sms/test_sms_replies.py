"""The meaning of a Twilio response for the SMS."""

from pathlib import Path

import pytest

from actors.channels.sms.replies import RULES, AccountRefused, Rule, failure
from actors.errors import (
    DeliveryError,
    PermanentFailure,
    Postponed,
    TemporaryFailure,
    Uncertain,
    Unsubscribed,
)

DOCUMENT = (Path(__file__).parents[3] / "docs" / "sms.md").read_text()


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, 21211, PermanentFailure),
        (400, 21614, PermanentFailure),
        (400, 21610, Unsubscribed),
        (400, 21408, PermanentFailure),
        (400, 99999, PermanentFailure),
        (429, 20429, TemporaryFailure),
        (429, 429, TemporaryFailure),
        (400, 21611, TemporaryFailure),
        (500, 20500, Uncertain),
        (503, 503, Uncertain),
        (401, 20003, AccountRefused),
        (401, 401, AccountRefused),
        (403, 20005, AccountRefused),
        (404, 20404, AccountRefused),
        (400, 21660, AccountRefused),
        (400, 21606, PermanentFailure),
        (302, 302, AccountRefused),
    ],
)
def test_each_reply_has_its_outcome(status: int, code: int, error: type[DeliveryError]) -> None:
    assert type(failure(status, code, "words")) is error


def test_a_refused_account_uses_no_attempt() -> None:
    assert issubclass(AccountRefused, Postponed)


def test_the_message_has_the_status_code_text_and_fix() -> None:
    error = failure(401, 20003, "Authentication Error\r\n- invalid username")
    assert str(error) == (
        "Twilio 401, error 20003: Authentication Error - invalid username "
        "(check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, and that the account is active)"
    )


def test_the_last_row_matches_everything() -> None:
    assert RULES[-1].fits(0, 0)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.explanation)
def test_the_documentation_has_every_row(rule: Rule) -> None:
    outcome = {
        PermanentFailure: "failed",
        TemporaryFailure: "retrying",
        AccountRefused: "postponed",
        Uncertain: "uncertain",
        Unsubscribed: "skipped, and suppressed",
    }
    rows = [
        line
        for line in DOCUMENT.splitlines()
        if line.endswith(f"| {outcome[rule.error]} | {rule.explanation} |")
    ]
    assert len(rows) == 1
    assert all(str(code) in rows[0] for code in rule.codes)

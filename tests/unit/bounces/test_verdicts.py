"""Each row of the table of verdicts, and the code that determines it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.bounces.report import BounceKind, Reason
from app.bounces.verdicts import RULES, Rule, judge

BOUNCES_PAGE = Path(__file__).parents[3] / "docs/bounces.md"

ROWS = [
    # status, reply, kind, reason, counts, the code that decided
    ("5.1.8", "550 5.1.8 Sender address rejected: Domain not found", "soft", "sender", False, "5.1.8"),
    (None, "550 sender verify failed", "soft", "sender", False, None),
    ("5.0.0", "554 relay access denied", "soft", "sender", False, "5.0.0"),
    ("5.3.4", "552 5.3.4 message size exceeds fixed limit", "soft", "content", False, "5.3.4"),
    (None, "552 message is too large", "soft", "content", False, None),
    ("5.2.2", "552 5.2.2 over quota", "soft", "mailbox_full", True, "5.2.2"),
    ("5.1.1", "550 mailbox is full", "soft", "mailbox_full", True, "5.1.1"),
    ("4.1.1", "450 4.1.1 user unknown", "soft", "temporary", True, "4.1.1"),
    ("5.1.1", "no such user", "hard", "no_such_recipient", True, "5.1.1"),
    ("5.1.10", "null MX", "hard", "no_such_recipient", True, "5.1.10"),
    (
        "5.4.1",
        "550 5.4.1 Recipient address rejected: Access denied",
        "hard",
        "no_such_recipient",
        True,
        "5.4.1",
    ),
    ("5.2.1", "550 5.2.1 mailbox disabled", "hard", "mailbox_disabled", True, "5.2.1"),
    ("5.7.1", "550 5.7.1 No such user!", "hard", "no_such_recipient", True, "5.7.1"),
    ("5.0.0", "605 Not delivering to previously bounced address", "hard", "no_such_recipient", True, "5.0.0"),
    ("5.7.26", "550 5.7.26 unauthenticated", "soft", "policy", False, "5.7.26"),
    (None, "554 Your host is on our blacklist", "soft", "policy", False, None),
    ("5.0.0", "554 account is suspended", "hard", "mailbox_disabled", True, "5.0.0"),
    ("4.4.7", "queue time expired", "soft", "expired", True, "4.4.7"),
    ("5.4.4", "Name service error", "soft", "unreachable", True, "5.4.4"),
    (None, "connection timed out", "soft", "unreachable", True, None),
    ("5.5.2", "syntax error", "soft", "content", False, "5.5.2"),
    ("5.3.0", "other mail system problem", "soft", "temporary", True, "5.3.0"),
    (None, "550 refused", "hard", "no_such_recipient", True, None),
    (None, "552 sorry", "soft", "mailbox_full", True, None),
    (None, "451 later", "soft", "temporary", True, None),
    (None, "554 transaction failed", "soft", "refused", False, None),
    # The code of the refusing server overrides that of the reporting server.
    ("5.0.0", "smtp; 550 5.1.1 unknown", "hard", "no_such_recipient", True, "5.1.1"),
    ("5.7.1", "550-5.1.1 The account does not exist", "hard", "no_such_recipient", True, "5.1.1"),
    # Text that looks like a code but is not.
    (None, "connect to 5.1.1.25 failed, timed out", "soft", "unreachable", True, None),
    (None, "server 5.2.21.3 said 421 busy", "soft", "temporary", True, None),
]


@pytest.mark.parametrize(("status", "reply", "kind", "reason", "counts", "code"), ROWS)
def test_each_reply_has_the_verdict_of_its_row(
    status: str | None, reply: str, kind: str, reason: str, counts: bool, code: str | None
) -> None:
    verdict, decided = judge(status, reply)
    assert (verdict.kind, verdict.reason, verdict.counts) == (BounceKind(kind), Reason(reason), counts)
    assert decided == code


def row(rule: Rule) -> str:
    families = ", ".join(f"{rule.digit or 'X'}.{family}" for family in rule.codes)
    digit = f"{rule.digit}.x.x or {rule.digit}xx" if rule.digit and not rule.codes else ""
    words = "by reply text" if rule.words else ""
    fits = " and ".join(filter(None, (families, digit, ", ".join(rule.replies), words)))
    verdict = rule.verdict
    counts = "yes" if verdict.counts else "no"
    return f"| {fits} | {verdict.kind} | {verdict.reason} | {counts} | {rule.explanation} |"


def test_documentation_shows_the_table() -> None:
    table = BOUNCES_PAGE.read_text().partition("## Hard and soft")[2].partition("\n## ")[0]
    shown = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert shown == [row(rule) for rule in RULES]

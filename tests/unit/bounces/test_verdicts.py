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

#: Replies about our settings, our server, or the route.
NOT_ABOUT_THE_RECIPIENT = [
    # Our sender address, or our account at a relay.
    ("554 5.1.0 Sender denied", "sender"),
    ("550 5.7.1 Invalid sender address", "sender"),
    ("550 Sender address is not allowed", "sender"),
    ("553 sorry, your envelope sender is in my badmailfrom list", "sender"),
    ("550 Invalid return path", "sender"),
    ("554 5.2.252 SendAsDenied; shop@example.com not allowed to send as tickets@example.com", "sender"),
    ("550 Message rejected: Email address is not verified", "sender"),
    ("550 The account you are sending from has been suspended", "sender"),
    ("550 5.2.1 Your account has been disabled", "sender"),
    ("550 Relaying not allowed", "sender"),
    ("550 not local host example.com, not a gateway", "sender"),
    ("553 sorry, that domain isn't in my list of allowed rcpthosts", "sender"),
    ("550 Invalid address (in reply to MAIL FROM command)", "sender"),
    ("550 5.4.5 Daily sending quota exceeded", "sender"),
    ("550 5.4.5 Daily user sending limit exceeded", "sender"),
    ("550 Hourly quota exceeded", "sender"),
    # Our host.
    ("550 Cannot find your reverse hostname", "policy"),
    ("550 Client host rejected: cannot find your hostname", "policy"),
    ("550 The IP address 192.0.2.1 is unknown here", "policy"),
    ("550 We do not accept mail from this IP address", "policy"),
    ("550 No PTR record: address not found", "policy"),
    ("550 Invalid HELO name", "policy"),
    ("550 Email rejected: DKIM signature invalid", "policy"),
    ("550 Access denied", "policy"),
    ("5.1.0 - Unknown address error 550-'5.7.1 blocked by spamhaus'", "policy"),
    # The route.
    ("554 5.4.14 Hop count exceeded - possible mail loop", "unreachable"),
    ("554 5.4.6 Routing loop detected", "unreachable"),
    ("554 5.3.5 mx.example.com config error: mail loops back to me (MX problem?)", "unreachable"),
    ("550 Too many hops", "unreachable"),
    # A refusal of this email, not of the mailbox.
    ("550 Administrative prohibition", "refused"),
    ("550 This email does not look right", "refused"),
    ("553 Rejected because of its headers", "refused"),
]


@pytest.mark.parametrize(("reply", "reason"), NOT_ABOUT_THE_RECIPIENT)
def test_reply_that_is_not_about_the_recipient_never_counts(reply: str, reason: str) -> None:
    verdict, _ = judge(None, reply)
    assert (verdict.kind, verdict.reason, verdict.counts) == (BounceKind.SOFT, Reason(reason), False)


@pytest.mark.parametrize(
    "reply",
    [
        "550",
        "550 rejected",
        "550 <sender@example.com>: refused",
        "host mx.example.com[192.0.2.1] said: 550 refused (in reply to RCPT TO command)",
        "550 <jane@example.com>: Recipient address rejected",
        "550 unknown local part",
        "550 no such person here",
        "550 Nobody here by that name",
        "550 that address no longer accepts email",
        "550 undeliverable address",
        "550 cuda_nsu",
        "551 User not local",
        "553 Requested action not taken: mailbox name not allowed",
        "550 5.1.1 Recipient rejected: access denied",
        "550 5.1.1 <sender@example.com>: unknown user",
    ],
)
def test_reply_that_names_no_other_cause_than_the_mailbox_is_hard(reply: str) -> None:
    verdict, _ = judge(None, reply)
    assert (verdict.kind, verdict.counts) == (BounceKind.HARD, True)


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
    words = "reply text" if rule.words else ""
    parts = list(filter(None, (families, digit, ", ".join(rule.replies), words)))
    if len(parts) > 1:
        parts = [f"({part})" if "," in part or " or " in part else part for part in parts]
    fits = " and ".join(parts)
    verdict = rule.verdict
    counts = "yes" if verdict.counts else "no"
    return f"| {fits} | {verdict.kind} | {verdict.reason} | {counts} | {rule.explanation} |"


def test_documentation_shows_the_table() -> None:
    table = BOUNCES_PAGE.read_text().partition("## Hard and soft")[2].partition("\n## ")[0]
    shown = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert shown == [row(rule) for rule in RULES]

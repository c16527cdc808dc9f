"""Bounces and other returned messages in the formats of many servers, with their verdicts.

The messages in `corpus` were written after the servers' documentation, with addresses of example.com.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from app.bounces.parse import parse
from app.bounces.report import Bounce, NoBounce

CORPUS = Path(__file__).parent / "corpus"

#: Message-ID of the mail to which every message in the corpus refers.
MESSAGE_ID = "<5b1f0c9d2e7a4c68a1d3f4b6c8e0a2f4@movieapp.example.com>"

#: File → kind, reason, and enhanced status code; or the type of a message that is not a bounce.
VERDICTS = {
    "action-left-out": "hard no_such_recipient 5.1.1",
    "amazon-ses-mailbox-full": "soft mailbox_full 4.4.7",
    "amazon-ses": "hard no_such_recipient 5.1.1",
    "aol": "hard no_such_recipient -",
    "apache-james": "hard no_such_recipient 5.1.1",
    "au-ezweb": "soft mailbox_full -",
    "away-english": "auto_reply",
    "away-french": "auto_reply",
    "away-german": "auto_reply",
    "away-italian": "auto_reply",
    "away-japanese": "auto_reply",
    "away-polish": "auto_reply",
    "away-portuguese": "auto_reply",
    "away-russian": "auto_reply",
    "away-spanish": "auto_reply",
    "away-without-sender": "auto_reply",
    "barracuda": "soft policy -",
    "challenge-confirm": "challenge",
    "challenge-verify": "challenge",
    "complaint": "complaint",
    "courier": "hard no_such_recipient 5.0.0",
    "delivered": "delivered",
    "docomo": "hard no_such_recipient 5.1.1",
    "encoded-status": "hard no_such_recipient 5.1.1",
    "exchange-5-5": "hard no_such_recipient -",
    "exchange-delayed": "delayed",
    "exchange-expired": "soft unreachable 5.4.300",
    "exchange-full": "soft mailbox_full 5.2.2",
    "exchange-german": "hard no_such_recipient 5.1.1",
    "exchange-online-edge": "hard no_such_recipient 5.4.1",
    "exchange-online-recipient": "hard no_such_recipient 5.1.10",
    "exchange-server": "hard no_such_recipient 5.1.1",
    "exchange-spam": "soft policy 5.7.1",
    "exim-classic": "hard no_such_recipient -",
    "exim-report": "hard no_such_recipient 5.0.0",
    "exim-retry-timeout": "soft unreachable -",
    "exim-warning": "delayed",
    "forwarded-recipient": "hard no_such_recipient 5.1.1",
    "gmail-delay": "delayed",
    "gmail-disabled": "hard mailbox_disabled 5.2.1",
    "gmail-dmarc": "soft policy 5.7.26",
    "gmail-over-quota": "soft mailbox_full 5.2.2",
    "gmail-unknown": "hard no_such_recipient 5.1.1",
    "gmx": "hard no_such_recipient -",
    "groupwise": "hard no_such_recipient -",
    "haraka": "hard no_such_recipient 5.1.1",
    "hmailserver": "hard no_such_recipient -",
    "icloud-full": "soft mailbox_full 5.2.2",
    "icloud": "hard no_such_recipient 5.1.1",
    "imail-full": "soft mailbox_full -",
    "imail": "hard no_such_recipient -",
    "international": "hard no_such_recipient 5.1.1",
    "ironport": "hard no_such_recipient 5.1.0",
    "kerio": "hard no_such_recipient 5.1.1",
    "left-the-company": "auto_reply",
    "lotus-domino-text": "hard no_such_recipient -",
    "lotus-domino": "hard no_such_recipient 5.1.1",
    "mail-ru-spam": "soft policy -",
    "mail-ru": "hard no_such_recipient -",
    "mailenable": "hard no_such_recipient -",
    "mailgun": "hard no_such_recipient 5.0.0",
    "mailing-list": "mailing_list",
    "mdaemon": "hard no_such_recipient -",
    "messagelabs": "hard no_such_recipient 5.1.1",
    "mimecast": "hard no_such_recipient -",
    "netease-163": "hard no_such_recipient -",
    "newsletter": "mailing_list",
    "onet-polish": "hard no_such_recipient 5.1.1",
    "opensmtpd": "hard no_such_recipient 5.1.1",
    "oracle-messaging-server": "soft unreachable 5.4.4",
    "orange-french": "hard no_such_recipient 5.1.1",
    "outlook-blocked": "soft policy 5.7.1",
    "outlook-throttled": "soft policy 4.7.650",
    "outlook-unavailable": "hard no_such_recipient 5.5.0",
    "person-asks": "unrecognized",
    "postfix-delayed": "delayed",
    "postfix-expired": "soft unreachable 4.4.1",
    "postfix-greylist-expired": "soft policy 4.2.0",
    "postfix-host-not-found": "soft unreachable 5.4.4",
    "postfix-loop": "soft unreachable 5.4.6",
    "postfix-null-mx": "hard no_such_recipient 5.1.0",
    "postfix-over-quota": "soft mailbox_full 5.2.2",
    "postfix-unknown-user": "hard no_such_recipient 5.1.1",
    "postmark": "hard no_such_recipient 5.1.1",
    "proofpoint-blocked": "soft policy 5.7.1",
    "proofpoint": "hard no_such_recipient 5.1.1",
    "qmail-connection": "soft unreachable 4.4.1",
    "qmail-no-host": "hard no_such_recipient 5.1.2",
    "qmail-over-quota": "soft mailbox_full -",
    "qmail-unknown": "hard no_such_recipient 5.1.1",
    "qq": "hard no_such_recipient -",
    "read-receipt": "read_receipt",
    "sendgrid": "hard no_such_recipient 5.1.1",
    "sendmail-old": "hard no_such_recipient -",
    "sendmail-report": "hard no_such_recipient 5.1.1",
    "sendmail-warning": "delayed",
    "smartermail": "hard no_such_recipient -",
    "softbank": "hard no_such_recipient -",
    "spamtitan": "soft policy 5.7.1",
    "sparkpost": "hard no_such_recipient 5.0.0",
    "stalwart": "hard no_such_recipient 5.1.1",
    "surgemail": "soft mailbox_full -",
    "t-online": "hard no_such_recipient -",
    "ticket-system": "auto_reply",
    "uol-portuguese": "soft mailbox_full -",
    "vacation-program": "auto_reply",
    "web-de-full": "soft mailbox_full -",
    "yahoo-disabled": "hard mailbox_disabled 5.0.0",
    "yahoo-no-account": "hard no_such_recipient -",
    "yahoo-over-quota": "soft mailbox_full 5.2.2",
    "yahoo-ts": "soft policy 4.7.0",
    "yandex": "hard no_such_recipient 5.7.1",
    "zimbra-over-quota": "soft mailbox_full 5.2.2",
}


def output(name: str) -> Bounce | NoBounce:
    return parse((CORPUS / f"{name}.eml").read_bytes())


def test_every_message_of_the_corpus_has_a_verdict() -> None:
    assert {file.stem for file in CORPUS.glob("*.eml")} == set(VERDICTS)


@pytest.mark.parametrize("name", VERDICTS)
def test_each_message_of_the_corpus_has_the_expected_verdict(name: str) -> None:
    found = output(name)
    if isinstance(found, NoBounce):
        assert found.what == VERDICTS[name]
    else:
        kind, reason, status = VERDICTS[name].split()
        assert (found.verdict.kind, found.verdict.reason, found.status or "-") == (kind, reason, status)


@pytest.mark.parametrize("name", [name for name, verdict in VERDICTS.items() if " " in verdict])
def test_bounce_names_its_recipient_and_our_mail(name: str) -> None:
    found = output(name)
    assert isinstance(found, Bounce)
    assert found.message_id == MESSAGE_ID
    assert any(address.startswith("moviegoer@") for address in found.recipients)
    assert not any("movieapp" in address for address in found.recipients)
    assert 5 < len(found.reply) <= 500


def test_forwarding_address_and_final_recipient_are_both_named() -> None:
    found = output("forwarded-recipient")
    assert isinstance(found, Bounce)
    assert found.recipients == ("elsewhere@forwarded.example.com", "moviegoer@alumni.example.com")


def test_copies_of_a_report_share_an_identity_and_different_reports_do_not() -> None:
    copy = (CORPUS / "postfix-unknown-user.eml").read_bytes()
    first, second = (
        parse(copy),
        parse(b"Received: from elsewhere by here; Fri, 27 Nov 2026 18:09:00 +0000\n" + copy),
    )
    another = output("postfix-over-quota")
    assert isinstance(first, Bounce) and isinstance(second, Bounce) and isinstance(another, Bounce)
    assert first.report_id == second.report_id
    assert output("gmail-unknown") != output("gmail-over-quota")

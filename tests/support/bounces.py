"""Returned mails, generated for one delivery."""

from __future__ import annotations

from email.utils import make_msgid

MESSAGE_ID = "<9c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f@movieapp.example.com>"
RECIPIENT = "moviegoer@example.com"

_REPORT = """\
Return-Path: <>
From: Mail Delivery System <MAILER-DAEMON@mail.example.com>
To: tickets@movieapp.example.com
Subject: Undelivered Mail Returned to Sender
Message-ID: {report_id}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"

--=_b
Content-Type: text/plain

I'm sorry to have to inform you that your message could not be delivered.

--=_b
Content-Type: message/delivery-status

Reporting-MTA: dns; mail.example.com

Final-Recipient: rfc822; {recipient}
Action: {action}
Status: {status}
Diagnostic-Code: smtp; {reply}

--=_b
Content-Type: text/rfc822-headers

To: <{recipient}>
{message_id}Subject: Your booking is confirmed

--=_b--
"""


def returned(
    *,
    recipient: str = RECIPIENT,
    message_id: str | None = MESSAGE_ID,
    status: str = "5.1.1",
    reply: str = "550 5.1.1 User unknown",
    action: str = "failed",
    report_id: str | None = None,
) -> bytes:
    """Return a delivery status notification. Each call gives another report, unless `report_id` is given."""
    return _REPORT.format(
        recipient=recipient,
        message_id=f"Message-ID: {message_id}\n" if message_id else "",
        status=status,
        reply=reply,
        action=action,
        report_id=report_id or make_msgid(domain="mail.example.com"),
    ).encode()


VACATION = b"""\
From: <moviegoer@example.com>
Subject: Automatic reply: Your booking is confirmed
Auto-Submitted: auto-replied

I am out of the office.
"""

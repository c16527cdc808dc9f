"""Wallet passes during the life of a booking: issued, replaced, voided."""

from __future__ import annotations

import json
import zipfile
from email.message import EmailMessage
from io import BytesIO
from typing import Any

from pydantic import SecretStr

from app.events.samples import sample
from app.models import Notification
from tests.support.actors import LogLines, confirmation
from tests.support.mail import MailSink
from tests.support.wallets import make_chain

APPLE = {name: SecretStr(value) for name, value in make_chain().settings.items()}
TICKETS = [{"seat": "B5", "code": "SECRET-CODE-B5"}, {"seat": "B6", "code": "SECRET-CODE-B6"}]


def passes(mail: EmailMessage) -> list[dict[str, Any]]:
    found = []
    for part in mail.iter_attachments():
        if part.get_content_type() == "application/vnd.apple.pkpass":
            with zipfile.ZipFile(BytesIO(part.get_content())) as pack:
                found.append(json.loads(pack.read("pass.json")))
    return found


def cancelled() -> dict[str, Any]:
    changes = {"booking_id": confirmation()["booking_id"], "user_phone": None}
    return sample("booking.cancelled") | changes | {"timestamp": "2026-12-03T13:00:00Z"}


def test_a_cancellation_voids_the_passes_that_were_sent(
    make_stub: Any, mail_sink: MailSink, log_lines: LogLines
) -> None:
    stub = make_stub(**APPLE)
    stub.publish(confirmation(tickets=TICKETS, timestamp="2026-12-03T11:00:00Z"))
    stub.publish(cancelled())
    handed_out, voided = (passes(mail) for mail in mail_sink.mails)
    assert [each["barcodes"][0]["message"] for each in handed_out] == ["SECRET-CODE-B5", "SECRET-CODE-B6"]
    assert [each["serialNumber"] for each in voided] == [each["serialNumber"] for each in handed_out]
    assert all(each["voided"] for each in voided)
    assert "SECRET-CODE" not in json.dumps(log_lines())


def test_a_second_update_voids_the_passes_of_the_first(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub(**APPLE)
    booking = confirmation()["booking_id"]
    change = {"booking_id": booking, "user_phone": None, "previous": {"screen": "Screen 9"}}
    stub.publish(confirmation(tickets=TICKETS[:1], timestamp="2026-12-03T11:00:00Z"))
    for number, tickets in ((1, TICKETS), (2, TICKETS[1:])):
        event = {"event_id": f"evt_{number}", "timestamp": f"2026-12-03T12:00:0{number}Z", "tickets": tickets}
        stub.publish(sample("booking.updated") | change | event)
    assert [[each.get("voided", False) for each in passes(mail)] for mail in mail_sink.mails] == [
        [False],
        [False, False],
        [False, True],
    ]


def test_a_cancellation_without_a_confirmation_has_no_passes(make_stub: Any, mail_sink: MailSink) -> None:
    make_stub(**APPLE).publish(cancelled())
    (mail,) = mail_sink.mails
    assert passes(mail) == []
    assert Notification.objects.get(notification_type="email").status == "sent"

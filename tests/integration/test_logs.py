"""Logs of the services: one line for each payment, refund, and delivery, with documented fields only."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import requests

from app import models
from app.events.samples import sample
from app.models import Notification
from app.settings import Settings
from tests.support.events import publish
from tests.support.mail import MailSink
from tests.support.servers import ApiServer, WorkerProcess
from tests.support.stripe import StripeSimulator
from tests.support.wait import wait_for

PAYMENT = {"user_id": "user_1", "amount": 25.5, "payment_method": "credit_card"}
MAILED = PAYMENT | {"user_email": "jane.doe@example.com"}
DECLINED = {
    "card_number": "4000000000000002",
    "expiry_month": 12,
    "expiry_year": 2040,
    "cvv": "123",
    "cardholder_name": "Jane Doe",
}


LOGS = Path(__file__).parents[2] / "docs" / "logs.md"


def documented() -> set[str]:
    """Return the fields in the table of docs/logs.md."""
    rows = LOGS.read_text().partition("## Fields")[2].splitlines()
    return {
        name for row in rows if row.startswith("| `") for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }


def lines(log: Path) -> list[dict[str, Any]]:
    """Return the log lines in a file, without lines that servers print."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def results(found: list[dict[str, Any]], message: str, *fields: str) -> list[tuple[Any, ...]]:
    """Return some fields of the lines with that message."""
    return sorted(
        (tuple(line.get(field) for field in fields) for line in found if line["message"] == message), key=str
    )


def test_each_payment_refund_and_delivery_is_one_line_of_documented_fields(
    rabbit_settings: Settings, stripe_simulator: StripeSimulator, mail_sink: MailSink, tmp_path: Path
) -> None:
    settings = rabbit_settings.model_copy(update=stripe_simulator.settings | mail_sink.settings)
    models.connect(settings)
    api = ApiServer(tmp_path / "api", settings)
    api.start()

    def post(path: str, **body: Any) -> dict[str, Any]:
        response: dict[str, Any] = requests.post(f"{api.url}/payment/{path}", json=body, timeout=30).json()
        return response

    def ended(booking: str, *statuses: str) -> None:
        wait_for(
            lambda: sorted(Notification.objects(booking_id=booking).scalar("status")) == sorted(statuses),
            30,
            lambda: worker.output(),
        )

    with WorkerProcess(tmp_path, settings) as worker:
        worker.wait_until_it_works()
        paid = post("process", **MAILED, booking_id="BOOK-PAID")
        ids = {"original_transaction_id": paid["transaction_id"], "booking_id": "BOOK-PAID"}
        post("refund", **ids, user_id="user_1", reason="changed plans")
        post("process", **MAILED, booking_id="BOOK-DECLINED", card_details=DECLINED)
        post("process", **PAYMENT, booking_id="BOOK-SILENT")
        ended("BOOK-PAID", "sent", "sent")
        ended("BOOK-DECLINED", "sent")
        ended("BOOK-SILENT", "skipped")
        mail_sink.replies = ["550 5.1.1 no such user"]
        post("process", **MAILED, booking_id="BOOK-REFUSED")
        ended("BOOK-REFUSED", "failed")
        mail_sink.replies = ["450 4.2.0 later"]
        post("process", **MAILED, booking_id="BOOK-LATER")
        ended("BOOK-LATER", "sent")
        publish(settings, sample("payment.success") | {"event_id": "evt_odd", "amount": "much"})
        wait_for(lambda: "evt_odd" in worker.log.read_text(), 30, lambda: worker.output())
    api.stop()

    here, there = lines(tmp_path / "api" / "output.log"), lines(tmp_path / "worker.log")
    assert results(here, "payment", "level", "booking_id", "status", "error_code") == [
        ("info", "BOOK-DECLINED", "failed", "CARD_DECLINED"),
        ("info", "BOOK-LATER", "completed", None),
        ("info", "BOOK-PAID", "completed", None),
        ("info", "BOOK-REFUSED", "completed", None),
        ("info", "BOOK-SILENT", "completed", None),
    ]
    assert results(here, "refund", "level", "booking_id", "status") == [("info", "BOOK-PAID", "completed")]
    assert results(there, "delivery", "level", "booking_id", "event_type", "status", "detail") == [
        ("info", "BOOK-DECLINED", "payment.failed", "sent", None),
        ("info", "BOOK-LATER", "payment.success", "sent", None),
        ("info", "BOOK-PAID", "payment.refund", "sent", None),
        ("info", "BOOK-PAID", "payment.success", "sent", None),
        ("info", "BOOK-SILENT", "payment.success", "skipped", "the event names no recipient"),
        ("warning", "BOOK-LATER", "payment.success", "retrying", "SMTP after-data: 450 4.2.0 later"),
        ("warning", "BOOK-REFUSED", "payment.success", "failed", "SMTP after-data: 550 5.1.1 no such user"),
    ]
    assert results(there, "event refused", "level", "event_id") == [("error", "evt_odd")]

    # No other line mentions them; the rest is about processes that start and stop.
    ours = {"payment", "refund", "delivery", "event refused"}
    left = [line for line in here + there if line["message"] not in ours]
    assert {line["logger"].split(".")[0] for line in left} <= {"gunicorn", "dramatiq"}
    assert not any("message" in line["message"].lower().split() for line in left)

    for line in here + there:
        assert line.keys() <= documented(), line
    assert "jane.doe" not in worker.log.read_text()

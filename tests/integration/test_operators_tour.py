"""Every command that terminates, through its real entry point, with its exit code, on either broker.

One evening: a payment and its mail, a mail that is refused, and an operator who looks, mends and tidies up.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from app import models
from app.events.samples import sample
from app.ids import new_id
from app.models import Notification
from app.payments.orders import PaymentOrder
from app.payments.service import make_payments
from cli.reference import commands
from tests.support.commands import movieapp
from tests.support.ports import free_port
from tests.support.servers import WorkerProcess
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from app.settings import Settings
    from tests.support.mail import MailSink
    from tests.support.stripe import StripeSimulator

#: Commands that run until they are stopped. tests/e2e/test_dev.py and every test with a server or worker
#: cover them.
ENDLESS = {"dev", "serve", "worker"}


def pay(settings: Settings) -> str:
    """A payment whose event the worker's sweep publishes."""
    contact = {"user_email": "jane.doe@example.com"}
    order = PaymentOrder("user_1", "BOOK-1", Decimal(25), "USD", "credit_card", contact=contact)
    taken = make_payments(settings).pay(order, new_id("TXN-"))
    return str(taken.payment.id)


def test_every_command_of_the_operators_tour_succeeds(
    broker_settings: Settings, private_stripe: StripeSimulator, mail_sink: MailSink, tmp_path: Path
) -> None:
    key = {"payment_gateway_api_key": SecretStr("sk_test_x"), "stripe_webhook_secret": SecretStr("whsec_x")}
    settings = broker_settings.model_copy(update={**mail_sink.settings, **private_stripe.settings, **key})
    models.connect(settings)
    done: set[str] = set()

    def run(code: int, words: str, *arguments: str) -> Any:
        done.add(words)
        ended = movieapp(settings, *words.split(), *arguments)
        assert ended.returncode == code, (words, ended.stdout, ended.stderr)
        assert "Traceback" not in ended.stderr
        return json.loads(ended.stdout) if "--json" in arguments else ended.stdout

    event = tmp_path / "event.json"
    with WorkerProcess(tmp_path, settings) as worker:
        worker.wait_until_it_works()
        payment = pay(settings)
        mail_sink.wait(1, 30)
        assert [each["transaction_id"] for each in run(0, "payments list", "--json")] == [payment]
        run(0, "payments show", payment, "--json")
        run(1, "payments show", "TXN-0")
        run(0, "payments reconcile", "--since", "1h", "--json")
        run(1, "payments cancel", payment, "--yes")
        run(0, "migrate", "--json")
        run(0, "attempts list", "--json")
        run(1, "attempts lift", "booking", "BOOK-1")
        refunded = tmp_path / "refunds.csv"
        refunded.write_text(payment)
        run(0, "refunds bulk", str(refunded), "--dry-run", "--json")
        run(0, "refunds bulk", str(refunded), "--yes", "--json")
        mail_sink.wait(2, 30)
        [bulk] = run(0, "refunds list", "--json")
        run(0, "refunds show", bulk["run_id"], "--json")
        run(1, "refunds stop", bulk["run_id"])
        run(0, "trace", payment)
        run(1, "trace", "TXN-none")
        run(0, "stats", "--since", "1h", "--json")
        [total] = run(0, "payments totals", "--json")
        assert total["count"] == 1
        run(0, "check", "--json")

        event.write_text(run(0, "events sample", "booking.confirmed"))
        run(0, "events validate", str(event))
        mail_sink.replies = ["550 5.7.1 not from you"]
        run(0, "events publish", str(event))
        run(1, "events validate", __file__)
        wait_for(lambda: Notification.objects(status="failed").first(), 30, "the mail was not refused")
        wait_for(lambda: len(run(0, "dead-letters list", "--json")) == 1, 30, "nothing died")
        run(1, "check")
        [reason] = run(0, "notifications reasons", "--status", "failed", "--json")
        assert "not from you" in reason["reason"]
        [letter] = run(0, "dead-letters list", "--json")
        assert "not from you" in run(0, "dead-letters show", letter["id"])
        run(1, "dead-letters show", "0123456789ab")
        run(0, "dead-letters replay", "--yes", "--json")
        mail_sink.wait(3, 30)
        run(0, "dead-letters drop", "--yes", "--json")

        sent = run(0, "notifications list", "--booking", "BOOK-1", "--json")
        [first] = [each for each in sent if each["event_type"] == "payment.success"]
        run(0, "notifications show", first["id"], "--json")
        run(1, "notifications resend", first["id"])
        run(0, "notifications resend", first["id"], "--force")
        mail_sink.wait(4, 30)
        run(0, "test-send", "payment_success", "--to", "jane.doe@example.com")
        run(0, "test-send", "payment_success", "--to", "jane.doe@example.com", "--via-queue")
        mail_sink.wait(6, 30)
    run(0, "smtp-check", "--json")
    run(0, "templates list", "--json")
    run(0, "templates render", "payment_success", "--text")
    run(0, "templates gallery", "--output", str(tmp_path / "gallery"))
    run(0, "completion", "bash")
    is_gone = ("gone@example.com", "--reason", "asked on the phone")
    assert run(0, "suppressions add", *is_gone, "--json") == {"suppressed": True, "new": True}
    assert [each["hint"] for each in run(0, "suppressions list", "--json")] == ["…@example.com"]
    assert run(0, "suppressions remove", *is_gone, "--json") == {"removed": True}
    created = run(0, "keys create", "shop", "--scope", "payments:read", "--json")
    run(0, "keys list", "--json")
    run(0, "keys revoke", created["id"])
    run(1, "keys revoke", created["id"])
    actions = [each["action"] for each in run(0, "audit list", "--json")]
    assert actions == [
        "keys.revoke",
        "keys.revoke",
        "keys.create",
        "suppressions.remove",
        "suppressions.add",
        "notifications.resend",
        "dead_letters.replay",
        "refunds.stop",
        "refunds.bulk",
        "attempts.lift",
        "payments.cancel",
        "payments.reconcile",
    ]
    assert "notifications.resend" in run(0, "trace", payment)
    run(0, "bounces ingest", str(event), "--json")
    jane = ("--email", "jane.doe@example.com")
    assert payment in str(run(0, "privacy export", *jane))
    run(0, "privacy erase", "--email", "john.roe@example.com", "--yes", "--json")
    assert {" ".join(words[1:]) for words in commands()} - done == ENDLESS


def test_with_every_server_down_each_command_fails_in_one_line(settings: Settings) -> None:
    """Check for exit code 1 without a traceback or a hang."""
    event = sample("payment.success")["event_id"]
    unavailable = settings.model_copy(
        update={
            "mongodb_uri": f"{settings.mongodb_uri}?serverSelectionTimeoutMS=200",
            "rabbitmq_url": f"amqp://guest:guest@127.0.0.1:{free_port()}/",
            "payment_gateway_url": f"http://127.0.0.1:{free_port()}",
            "smtp_server": "127.0.0.1",
            "smtp_port": free_port(),
            "payment_gateway_max_retries": 0,
        }
    )
    for words in (
        "payments list",
        "payments reconcile",
        f"trace {event}",
        "refunds list",
        "dead-letters list",
        "notifications list",
        "keys list",
        "test-send payment_success --to jane.doe@example.com",
        "test-send payment_success --to jane.doe@example.com --via-queue",
    ):
        ended = movieapp(unavailable, *words.split())
        assert (ended.returncode, ended.stdout) == (1, ""), (words, ended)
        assert ended.stderr.startswith("Error: "), ended.stderr
        assert "Traceback" not in ended.stderr

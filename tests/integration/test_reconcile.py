"""Our records against the gateway's: every kind of difference is found, and repaired only on request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import requests

from app import create_app, models
from app.clock import utcnow
from app.models import Transaction
from tests.support.commands import movieapp
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

PAYMENT = {"user_id": "user_1", "booking_id": "BOOK-1", "amount": 50, "payment_method": "credit_card"}


@pytest.fixture
def books(redis_settings: Settings, private_stripe: StripeSimulator) -> Settings:
    impatient = {"payment_gateway_read_timeout": 3.0, "payment_gateway_max_retries": 0}
    return redis_settings.model_copy(update=private_stripe.settings | impatient)


@pytest.fixture
def client(books: Settings) -> Iterator[FlaskClient]:
    app = create_app(books)
    yield app.test_client()
    app.extensions["movieapp"].relay.close()


@pytest.fixture
def paid(client: FlaskClient) -> str:
    transaction_id: str = client.post("/payment/process", json=PAYMENT).json["transaction_id"]
    Transaction.objects(id=transaction_id).update(set__created_at=utcnow() - timedelta(hours=1))
    return transaction_id


def reconcile(books: Settings, *options: str) -> tuple[int, list[tuple[str, str, bool]], int]:
    """Return the exit code, (kind, subject, repaired) of every difference, and the number of settled
    payments.
    """
    yes = ["--yes"] if "--repair" in options else []
    done = movieapp(books, "payments", "reconcile", "--since", "2h", "--json", *options, *yes)
    assert done.stdout, done.stderr
    output = json.loads(done.stdout)
    found = [(item["kind"], item["subject"], item["repaired"] is not None) for item in output["differences"]]
    return done.returncode, found, output["finished"]


def payment(transaction_id: str) -> Transaction:
    found: Transaction = Transaction.objects.get(id=transaction_id)
    return found


def at_gateway(books: Settings, path: str, **form: Any) -> dict[str, Any]:
    response = requests.post(
        f"{books.payment_gateway_url}{path}",
        data=form,
        headers={"Authorization": "Bearer sk_test_tests"},
        timeout=5,
    )
    response.raise_for_status()
    created: dict[str, Any] = response.json()
    return created


def test_matching_records_are_reported(client: FlaskClient, books: Settings, paid: str) -> None:
    refund = {"original_transaction_id": paid, "booking_id": "BOOK-1", "user_id": "user_1", "reason": "r"}
    assert client.post("/payment/refund", json=refund | {"refund_amount": 20}).status_code == 200
    client.post(
        "/payment/process", json=PAYMENT | {"booking_id": "B-2", "payment_token": "pm_card_chargeDeclined"}
    )
    # Another application uses the same account with a currency that we do not accept.
    at_gateway(
        books,
        "/v1/payment_intents",
        amount=500,
        currency="usd",
        payment_method="pm_card_visa",
        confirm="true",
    )
    assert reconcile(books) == (0, [], 0)
    output = movieapp(books, "payments", "reconcile")
    assert (output.returncode, output.stdout) == (0, "Overdue payments looked up: 0. No differences.\n")


def _lose_the_record(_books: Settings, transaction_id: str) -> str:
    payment(transaction_id).delete()
    return transaction_id


def _record_a_failure(_books: Settings, transaction_id: str) -> str:
    Transaction.objects(id=transaction_id).update(set__status="failed", unset__open_booking=True)
    return transaction_id


def _refund_elsewhere(books: Settings, transaction_id: str) -> str:
    intent = payment(transaction_id).gateway_id
    created: str = at_gateway(books, "/v1/refunds", payment_intent=intent, amount=2000)["id"]
    return created


def _fail_a_refund(books: Settings, transaction_id: str) -> str:
    app = create_app(books)
    refund = {"original_transaction_id": transaction_id, "booking_id": "BOOK-1", "user_id": "user_1"}
    created = app.test_client().post("/payment/refund", json=refund | {"reason": "r"}).json
    app.extensions["movieapp"].relay.close()
    gateway_id = payment(transaction_id).refunds[0].gateway_id
    requests.post(
        f"{books.payment_gateway_url}/_simulator/refunds/{gateway_id}/fail", timeout=5
    ).raise_for_status()
    found: str = created["refund_transaction_id"]
    return found


@pytest.mark.parametrize(
    ("damage", "kind", "status", "refunded"),
    [
        (_lose_the_record, "charge without record", "completed", 0),
        (_record_a_failure, "charged, recorded as failed", "refunded", 50),
        (_refund_elsewhere, "refund without record", "partially_refunded", 20),
        (_fail_a_refund, "refund failed, recorded as completed", "completed", 0),
    ],
)
def test_repairable_differences_are_repaired_on_request_and_audited(
    books: Settings,
    paid: str,
    damage: Callable[[Settings, str], str],
    kind: str,
    status: str,
    refunded: int,
) -> None:
    subject = damage(books, paid)
    assert reconcile(books, "--dry-run") == (1, [(kind, subject, False)], 0)
    assert reconcile(books) == (1, [(kind, subject, False)], 0), "it was only looked at"
    assert reconcile(books, "--repair") == (0, [(kind, subject, True)], 0)
    mended = payment(paid)
    assert (mended.status, mended.amount_refunded) == (status, Decimal(refunded))
    assert mended.history[-1].actor == "operator"
    assert mended.refund_reserved == mended.amount_refunded
    assert reconcile(books) == (0, [], 0)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"set__amount": Decimal(60)}, "amount differs"),
        ({"set__currency": "EUR"}, "amount differs"),
        ({"set__gateway_id": "pi_other"}, None),
    ],
)
def test_differences_that_need_a_decision_are_reported_and_not_repaired(
    books: Settings, paid: str, changes: dict[str, Any], kind: str | None
) -> None:
    Transaction.objects(id=paid).update(**changes)
    expected = [(kind, paid, False)] if kind else []
    assert reconcile(books, "--repair") == (len(expected), expected, 0)


def test_a_record_without_a_charge_is_reported(books: Settings, paid: str) -> None:
    models.connect(books)
    record = payment(paid)
    record.id, record.open_booking, record.gateway_id = "TXN-forged", None, "pi_forged"
    record.save(force_insert=True)
    assert reconcile(books, "--repair") == (1, [("record without charge", "TXN-forged", False)], 0)


def test_a_payment_open_too_long_is_settled_once(
    client: FlaskClient, books: Settings, private_stripe: StripeSimulator
) -> None:
    private_stripe.fault(match="POST /v1/payment_intents", kind="drop_after")
    pending = client.post("/payment/process", json=PAYMENT)
    assert pending.status_code == 202
    Transaction.objects.update(set__recover_after=utcnow() - timedelta(seconds=1))
    transaction_id = pending.json["transaction_id"]
    code, found, finished = reconcile(books, "--dry-run")
    assert (code, found, finished, payment(transaction_id).status) == (0, [], 0, "pending")
    assert reconcile(books) == (0, [], 1)
    assert [(step.status, step.actor) for step in payment(transaction_id).history][-1] == (
        "completed",
        "operator",
    )
    assert len(private_stripe.charges()) == 1
    assert reconcile(books) == (0, [], 0)


def test_an_unresponsive_gateway_is_reported_in_one_line(books: Settings) -> None:
    unavailable = books.model_copy(update={"payment_gateway_url": "http://127.0.0.1:1"})
    done = movieapp(unavailable, "payments", "reconcile")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The request to the gateway failed")
    assert len(done.stderr.splitlines()) == 1


def test_a_repair_that_moves_money_asks_for_confirmation(books: Settings, paid: str) -> None:
    _record_a_failure(books, paid)
    done = movieapp(books, "payments", "reconcile", "--since", "2h", "--repair")
    assert done.returncode == 2
    assert "Would refund 50.00 USD" in done.stdout
    assert "pass --yes" in done.stderr
    assert payment(paid).status == "failed"
    looked = movieapp(books, "payments", "reconcile", "--since", "2h", "--dry-run")
    assert "refund 50.00 USD" in looked.stdout


def test_charges_of_another_deployment_are_ignored(client: FlaskClient, books: Settings, paid: str) -> None:
    Transaction.objects(id=paid).delete()
    other = books.model_copy(update={"namespace": "other-deployment."})
    assert reconcile(other, "--repair") == (0, [], 0)


def test_wrong_use_is_reported(books: Settings) -> None:
    assert movieapp(books, "payments", "reconcile", "--dry-run", "--repair").returncode == 2
    assert movieapp(books, "payments", "reconcile", "--since", "soon").returncode == 2


def test_payments_are_listed_and_shown(client: FlaskClient, books: Settings, paid: str) -> None:
    declined = client.post(
        "/payment/process", json=PAYMENT | {"booking_id": "B-2", "payment_token": "pm_card_chargeDeclined"}
    ).json["transaction_id"]

    def listed(*options: str) -> list[str]:
        done = movieapp(books, "payments", "list", "--json", *options)
        assert done.returncode == 0, done.stderr
        return [item["transaction_id"] for item in json.loads(done.stdout)]

    assert listed() == [declined, paid]
    assert listed("--limit", "1") == [declined]
    assert listed("--status", "failed") == [declined]
    assert listed("--booking", "BOOK-1") == [paid]
    assert listed("--user", "nobody") == []
    assert listed("--since", "30m") == [declined]

    shown = json.loads(movieapp(books, "payments", "show", paid, "--json").stdout)
    assert [step["status"] for step in shown["history"]] == ["pending", "completed"]
    assert shown["history"][0]["request_id"].startswith("req_")
    text = movieapp(books, "payments", "show", paid).stdout
    assert paid in text
    assert "card_last_four" in text
    assert movieapp(books, "payments", "show", "TXN-none").returncode == 1


def test_any_id_leads_to_the_whole_timeline(client: FlaskClient, books: Settings) -> None:
    response = client.post("/payment/process", json=PAYMENT, headers={"X-Request-ID": "asked-for-1"})
    transaction_id = response.json["transaction_id"]
    refund = {
        "original_transaction_id": transaction_id,
        "booking_id": "BOOK-1",
        "user_id": "user_1",
        "reason": "r",
    }
    refund_id = client.post("/payment/refund", json=refund).json["refund_transaction_id"]
    wait_for(lambda: not payment(transaction_id).outbox, 10, "the events were not published")
    record = payment(transaction_id)
    event_id = record.history[1].event_id
    models.Notification(
        event_id=event_id,
        event_type="payment.success",
        notification_type="email",
        status="sent",
        booking_id="BOOK-1",
        recipient="jane.doe@example.com",
        message_id="<m1@example.com>",
        event_data={},
        created_at=utcnow(),
        attempts=[models.Attempt(at=utcnow(), outcome="sent", detail="")],
    ).save()

    def output(search: str) -> list[tuple[str, str]]:
        done = movieapp(books, "trace", search, "--json")
        assert done.returncode == 0, done.stderr
        return [(entry["subject"], entry["what"]) for entry in json.loads(done.stdout)]

    story = output(transaction_id)
    assert story == [
        (transaction_id, "pending"),
        (transaction_id, "completed"),
        (transaction_id, "refund_pending"),
        (transaction_id, "refunded"),
        ("email", "recorded"),
        ("email", "sent"),
    ]
    for search in (refund_id, "BOOK-1", record.gateway_id, "asked-for-1", event_id, "m1@example.com"):
        assert output(search) == story, search
    unknown = movieapp(books, "trace", "nothing")
    assert (unknown.returncode, unknown.stderr) == (
        1,
        "Error: No payment or notification matches this id or address.\n",
    )

"""`movieapp refunds`: plans, confirmations, exceptions, interruptions, and reports."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from app import models
from app.clock import utcnow
from app.events.samples import sample
from app.ids import new_id
from app.models import Notification, OperatorAction, RefundRun, RefundRunLine, Transaction
from app.operations.audit import Operator, Surface
from app.operations.bulk_refunds import begin, confirm, plan, results, stop
from app.payments.bulk.execute import carry_out, carry_out_next
from app.payments.bulk.lists import read_list
from app.payments.bulk.store import RunStore
from app.payments.orders import PaymentOrder, RefundOrder
from app.payments.recovery import recover_due
from app.payments.service import Payments, make_payments
from cli.main import main
from cli.refunds import _begin
from tests.support.commands import environment
from tests.support.lost_writes import lose_acknowledgment

if TYPE_CHECKING:
    from app.payments.bulk.records import Run
    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

REFUND = "POST /v1/refunds"
OPERATOR = Operator("ann@desk", Surface.CLI)


@pytest.fixture
def paying(stored_settings: Settings, stripe_simulator: StripeSimulator) -> Settings:
    impatient = {"payment_gateway_read_timeout": 2.0, "payment_gateway_max_retries": 0}
    settings = stored_settings.model_copy(update=stripe_simulator.settings | impatient)
    models.connect(settings)
    return settings


@pytest.fixture
def side(paying: Settings) -> Payments:
    return make_payments(paying)


@pytest.fixture
def runs() -> RunStore:
    return RunStore()


@dataclass(frozen=True)
class Ended:
    """A finished command; see `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def movieapp(settings: Settings, *arguments: str) -> Ended:
    """Run a command in this process, because starting one for each would be slow."""
    ended = CliRunner().invoke(main, ["--data-dir", "/dev/null/none", *arguments], env=environment(settings))
    if ended.exception and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return Ended(ended.exit_code, ended.stdout, ended.stderr)


def pay(side: Payments, booking: str, amount: str = "50", currency: str = "USD", **fields: Any) -> str:
    order = PaymentOrder("user_1", booking, Decimal(amount), currency, "credit_card", **fields)
    return side.pay(order, new_id("TXN-")).payment.id


def refund(side: Payments, transaction_id: str, booking: str, amount: str | None) -> None:
    order = RefundOrder(transaction_id, booking, "user_1", "r", Decimal(amount) if amount else None)
    side.refunds.refund(order, new_id("REF-"))


def planned(side: Payments, runs: RunStore, *ids: str, rate: float = 100) -> Run:
    entries = read_list("\n".join(ids).encode())
    created = plan(side.books.ledger, entries, source="list", reason="r", operator=OPERATOR, rate=rate)
    return begin(runs, created, OPERATOR)


@pytest.fixture
def screening(side: Payments, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A list with a line for each case, and its payments."""
    names = {
        "whole": pay(side, "BOOK-1"),
        "rest": pay(side, "BOOK-2"),
        "done": pay(side, "BOOK-3"),
        "yen": pay(side, "BOOK-4", "5000", "JPY"),
        "open": pay(side, "BOOK-5", payment_token="pm_card_authenticationRequired"),
    }
    refund(side, names["rest"], "BOOK-2", "20")
    refund(side, names["done"], "BOOK-3", None)
    rows = [*names.values(), "TXN-unknown", names["whole"]]
    file = tmp_path / "list.csv"
    file.write_text("\n".join(["transaction_id", *rows]))
    return file, names


def test_a_dry_run_names_the_exceptions_and_changes_nothing(
    paying: Settings, screening: tuple[Path, dict[str, str]]
) -> None:
    file, names = screening
    ended = movieapp(paying, "refunds", "bulk", str(file), "--dry-run", "--json")
    assert ended.returncode == 0, ended.stderr
    shown = json.loads(ended.stdout)
    assert shown["totals"] == {"JPY": "5000", "USD": "80.00"}
    assert [line["outcome"] for line in shown["lines"]] == [
        "refund",
        "rest",
        "already_refunded",
        "refund",
        "pending",
        "unknown",
        "duplicate",
    ]
    ended = movieapp(paying, "refunds", "bulk", str(file), "--dry-run")
    assert "Plan: 3 of 7 lines, total 5000 JPY, 80.00 USD." in ended.stdout
    assert "to refund the rest, because part was refunded before" in ended.stdout
    assert RefundRun.objects.count() == OperatorAction.objects.count() == 0
    assert Transaction.objects.get(id=names["whole"]).status == "completed"


def test_a_bulk_refund_refunds_and_reports_each_line(
    paying: Settings, screening: tuple[Path, dict[str, str]], stripe_simulator: StripeSimulator
) -> None:
    file, names = screening
    ended = movieapp(paying, "refunds", "bulk", str(file), "--yes", "--reason", "Power cut", "--csv")
    assert ended.returncode == 1, "not every payment on the list is refunded"
    rows = list(csv.DictReader(io.StringIO(ended.stdout)))
    assert [row["outcome"] for row in rows] == [
        "refunded",
        "refunded",
        "already_refunded",
        "refunded",
        "pending",
        "unknown",
        "duplicate",
    ]
    whole = Transaction.objects.get(id=names["whole"])
    assert rows[0]["refund_transaction_id"] == whole.refunds[0].id
    assert (whole.status, whole.refunds[0].reason) == ("refunded", "Power cut")
    assert [step.actor for step in whole.history[-2:]] == ["operator", "operator"]
    [charge] = stripe_simulator.charges(names["rest"])
    assert (charge["amount_refunded"], charge["refunded"]) == (5000, True)
    [action] = OperatorAction.objects
    assert (action.action, action.details["total"]) == ("refunds.bulk", "5000 JPY, 80.00 USD")

    [run] = json.loads(movieapp(paying, "refunds", "list", "--json").stdout)
    assert (run["status"], run["totals"]) == ("finished", {"JPY": "5000", "USD": "80.00"})
    shown = movieapp(paying, "refunds", "show", run["run_id"])
    assert shown.returncode == 1
    assert "2 refunded: 80.00 USD" in shown.stdout
    again = movieapp(paying, "refunds", "bulk", "--resume", run["run_id"], "--yes", "--json")
    assert (
        json.loads(again.stdout)["lines"]
        == json.loads(movieapp(paying, "refunds", "show", run["run_id"], "--json").stdout)["lines"]
    )
    file.write_text("\n".join([names["whole"], names["rest"]]))
    repeated = movieapp(paying, "refunds", "bulk", str(file), "--yes", "--json")
    assert repeated.returncode == 0, repeated.stderr
    assert {line["outcome"] for line in json.loads(repeated.stdout)["lines"]} == {"already_refunded"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Pass exactly one of FILE"),
        (("FILE",), "stdin is not a terminal: pass --yes"),
        (("FILE", "--resume", "RUN-1", "--yes"), "Pass exactly one of FILE"),
        (("FILE", "--movie", "Dune", "--yes"), "require --showtime"),
        (("FILE", "--json", "--csv", "--yes"), "can't be used together"),
        (("FILE", "--rate", "0", "--yes"), "--rate"),
        (("EMPTY", "--yes"), "no entries"),
    ],
)
def test_wrong_use_exits_with_2_before_any_change(
    paying: Settings, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "FILE").write_text("TXN-1")
    (tmp_path / "EMPTY").write_text("")
    paths = [str(tmp_path / each) if each in ("FILE", "EMPTY") else each for each in arguments]
    ended = movieapp(paying, "refunds", "bulk", *paths)
    assert ended.returncode == 2, ended.stderr
    assert message in ended.stderr
    assert RefundRun.objects.count() == 0


@pytest.mark.parametrize("words", ["show RUN-0", "stop RUN-0", "bulk --resume RUN-0 --yes"])
def test_an_unknown_run_is_reported_in_one_line(paying: Settings, words: str) -> None:
    ended = movieapp(paying, "refunds", *words.split())
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "Error: No bulk refund has the id RUN-0.\n"


def test_csv_of_a_bulk_refund_contains_no_formulas(paying: Settings, side: Payments, tmp_path: Path) -> None:
    file = tmp_path / "list.json"
    file.write_text(json.dumps([pay(side, "=1+1"), "=2+2"]))
    plan_csv = movieapp(paying, "refunds", "bulk", str(file), "--dry-run", "--csv").stdout
    report_csv = movieapp(paying, "refunds", "bulk", str(file), "--yes", "--csv").stdout
    shown_csv = movieapp(paying, "refunds", "show", RefundRun.objects.get().id, "--csv").stdout
    for printed in (plan_csv, report_csv, shown_csv):
        first, second = csv.DictReader(io.StringIO(printed))
        assert (first["booking_id"], first["amount"]) == ("'=1+1", "50.00")
        assert "'=2+2" in (second["transaction_id"], second["booking_id"])


@pytest.mark.parametrize(("typed", "started"), [("50.00 USD", 1), ("50", 1), ("yes", 0), ("500.00 USD", 0)])
def test_only_the_repeated_total_confirms_a_run(
    side: Payments, runs: RunStore, typed: str, started: int
) -> None:
    import click

    created = plan(
        side.books.ledger,
        read_list(pay(side, "BOOK-1").encode()),
        source="list",
        reason="r",
        operator=OPERATOR,
    )
    command = click.Command("begin", callback=lambda: _begin(runs, created, yes=False) and None)
    ended = CliRunner().invoke(command, input=f"{typed}\n")
    assert (ended.exit_code == 0) == bool(started), ended.output
    assert RefundRun.objects.count() == started


def test_a_run_whose_start_is_not_acknowledged_is_reported_as_not_confirmed(
    paying: Settings, side: Payments, runs: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "list.txt"
    file.write_text(pay(side, "BOOK-1"))
    lose_acknowledgment(monkeypatch, "insert_one", "running", RefundRun.collection().name)
    ended = movieapp(paying, "refunds", "bulk", str(file), "--yes")
    [run] = runs.newest()
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[-1] == (
        f"Error: The start of the bulk refund {run.id} is not confirmed: the bulk refund may be running. To "
        f"check, run: movieapp refunds show {run.id}"
    )
    carry_out_next(side, runs, threading.Event())
    assert "refunded" in movieapp(paying, "refunds", "show", run.id).stdout


def test_a_bulk_refund_whose_lines_are_not_acknowledged_never_starts(
    paying: Settings, side: Payments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "list.txt"
    file.write_text(pay(side, "BOOK-1"))
    lose_acknowledgment(monkeypatch, "insert_many", "BOOK-1", RefundRunLine.collection().name)
    ended = movieapp(paying, "refunds", "bulk", str(file), "--yes")
    assert (ended.returncode, "the request was not processed" in ended.stderr) == (1, True)
    assert RefundRun.objects.count() == 0


def test_a_stopped_run_refunds_nothing_more_until_it_is_resumed(
    paying: Settings, side: Payments, runs: RunStore
) -> None:
    run = planned(side, runs, *(pay(side, f"BOOK-{number}") for number in range(3)))
    stop(runs, run, OPERATOR)
    carry_out_next(side, runs, threading.Event())
    assert not carry_out(side, runs, run.id, threading.Event())
    assert Transaction.objects(status="refunded").count() == 0
    confirm(runs, runs.find(run.id), OPERATOR)
    carry_out_next(side, runs, threading.Event())
    assert runs.find(run.id).status == "finished"
    assert Transaction.objects(status="refunded").count() == 3
    assert [action.action for action in OperatorAction.objects.order_by("at")] == [
        "refunds.bulk",
        "refunds.stop",
        "refunds.resume",
    ]
    ended = movieapp(paying, "refunds", "stop", run.id)
    assert ended.stderr == f"Error: The bulk refund {run.id} is not running: its status is finished.\n"


def test_runs_are_carried_out_one_at_a_time_and_an_abandoned_run_is_taken_over(
    side: Payments, runs: RunStore
) -> None:
    first, second = (planned(side, runs, pay(side, f"BOOK-{number}")) for number in range(2))
    now = utcnow()
    assert runs.claim(first.id, "a", now, now + timedelta(seconds=4))
    assert not runs.claim(first.id, "b", now, now + timedelta(seconds=4))
    assert not carry_out(side, runs, second.id, threading.Event())
    assert runs.renew(first.id, "a", now + timedelta(seconds=5))
    later = now + timedelta(seconds=6)
    assert runs.claim(second.id, "b", later, later + timedelta(seconds=4))
    assert not runs.renew(first.id, "a", later)
    runs.release(second.id, "b")
    carry_out_next(side, runs, threading.Event())
    assert {run.status for run in runs.newest()} == {"finished"}
    assert Transaction.objects(status="refunded").count() == 2


def test_lost_responses_and_transient_refusals_are_retried_within_the_run(
    side: Payments, runs: RunStore, stripe_simulator: StripeSimulator
) -> None:
    run = planned(side, runs, *(pay(side, f"BOOK-{number}") for number in range(4)))
    stripe_simulator.fault(match=REFUND, kind="drop_after")
    stripe_simulator.fault(match=REFUND, kind="error", status=429)
    stripe_simulator.fault(match=REFUND, kind="drop_before")
    assert carry_out(side, runs, run.id, threading.Event())
    found = results(runs, side.books.ledger, run.id)
    assert [result.outcome for result in found] == ["refunded"] * 4
    for result in found:
        [charge] = stripe_simulator.charges(result.line.transaction_id)
        assert charge["amount_refunded"] == 5000


def test_payments_changed_since_the_plan_are_named_and_not_refunded(
    side: Payments, runs: RunStore, stripe_simulator: StripeSimulator
) -> None:
    transaction_id = pay(side, "BOOK-1")
    run = planned(side, runs, transaction_id)
    refund(side, transaction_id, "BOOK-1", "20")
    carry_out(side, runs, run.id, threading.Event())
    [result] = results(runs, side.books.ledger, run.id)
    assert (result.outcome, result.reason) == (
        "failed",
        "The refund exceeds the amount left to refund, 30.00 USD.",
    )
    [charge] = stripe_simulator.charges(transaction_id)
    assert charge["amount_refunded"] == 2000


def test_a_run_stops_while_the_gateway_keeps_refusing(
    side: Payments, runs: RunStore, stripe_simulator: StripeSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.payments.bulk.pace.FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("app.payments.bulk.pace.LONGEST_PAUSE_SECONDS", 0.01)
    run = planned(side, runs, pay(side, "BOOK-1"))
    stripe_simulator.fault(match=REFUND, kind="error", status=429, times=0)
    assert carry_out(side, runs, run.id, threading.Event())
    waiting = runs.find(run.id)
    assert waiting.status == "running"
    assert waiting.retry_at
    assert waiting.retry_at > utcnow() + timedelta(seconds=30)
    assert runs.waiting(utcnow()) == []
    assert runs.waiting(utcnow() + timedelta(minutes=2)) == [run.id]
    [payment] = Transaction.objects
    assert [refund.status for refund in payment.refunds] == ["pending"]
    assert (payment.status, payment.refund_reserved) == ("completed", 50)
    stripe_simulator.clear_faults()
    assert carry_out(side, runs, run.id, threading.Event())
    assert runs.find(run.id).status == "finished"
    payment = Transaction.objects.get(id=payment.id)
    assert (payment.status, len(payment.refunds)) == ("refunded", 1)


@pytest.mark.parametrize(
    "fault",
    [{"kind": "error", "status": 500}, {"kind": "error", "status": 429}, {"kind": "drop_before"}],
    ids=["500", "429", "connection lost"],
)
def test_a_line_stays_open_until_recovery_has_found_out_that_its_refund_was_not_made(
    side: Payments,
    runs: RunStore,
    stripe_simulator: StripeSimulator,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
) -> None:
    monkeypatch.setattr("app.payments.bulk.pace.FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("app.payments.bulk.pace.LONGEST_PAUSE_SECONDS", 0.01)
    transactions = [pay(side, f"BOOK-{number}") for number in range(2)]
    run = planned(side, runs, *transactions)
    stripe_simulator.fault(match=REFUND, times=0, **fault)
    assert carry_out(side, runs, run.id, threading.Event())
    stripe_simulator.clear_faults()
    assert (runs.find(run.id).status, runs.count_open(run.id)) == ("running", 2)
    for module in ("payments.recovery", "payments.refunds", "payments.bulk.execute"):
        monkeypatch.setattr(f"app.{module}.utcnow", lambda: utcnow() + timedelta(minutes=5))
    recover_due(side)
    assert {one.status for each in Transaction.objects for one in each.refunds} == {"failed"}
    assert carry_out(side, runs, run.id, threading.Event())
    assert runs.find(run.id).status == "finished"
    for transaction_id in transactions:
        [charge] = stripe_simulator.charges(transaction_id)
        assert charge["amount_refunded"] == 5000
        [payment] = Transaction.objects(id=transaction_id)
        assert [one.status for one in payment.refunds] == ["failed", "completed"]


@pytest.fixture
def told() -> Iterator[str]:
    """Confirmations of three bookings, two of them of the same screening."""
    event = sample("booking.confirmed")
    for number, showtime in enumerate(
        (event["showtime"], "2036-12-16T01:00:00Z", "2036-12-17T20:00:00-05:00")
    ):
        data = event | {"event_id": f"evt_{number}", "booking_id": f"BOOK-{number}", "showtime": showtime}
        Notification(
            event_id=data["event_id"],
            event_type="booking.confirmed",
            notification_type="email",
            status="sent",
            booking_id=data["booking_id"],
            event_data=data,
            created_at=utcnow(),
        ).insert()
    yield event["showtime"]


def test_the_bookings_of_a_screening_are_found_in_the_events(
    side: Payments, paying: Settings, told: str
) -> None:
    for number in range(3):
        pay(side, f"BOOK-{number}")
    words = ("refunds", "bulk", "--showtime", told, "--movie", "The Third Man", "--yes", "--json")
    ended = movieapp(paying, *words)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert [line["booking_id"] for line in report["lines"]] == ["BOOK-0", "BOOK-1"]
    assert report["source"] == f"The Third Man, {told}"
    assert Transaction.objects(status="refunded").count() == 2
    missing = movieapp(paying, "refunds", "bulk", "--showtime", told, "--movie", "Dune", "--yes")
    assert missing.returncode == 1
    assert "No booking on record matches this screening" in missing.stderr

"""`python -m devtools.capacity`: the plan for a rate of payments."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise

import pytest

from app.models import Transaction
from devtools.capacity import Load, limits, main, plan
from devtools.index_sizes import TYPICAL_PAYMENT, index_bytes
from tests.support.documents import ROOT

PAGE = (ROOT / "docs/scaling.md").read_text()


def test_a_plan_for_100_payments_a_second() -> None:
    needed = plan(Load(payments=100))
    assert (needed.api_processes, needed.worker_processes, needed.app_nodes) == (2, 3, 3)
    assert needed.mongodb_writes == 1_000
    assert needed.stripe_accounts == 4


def test_slow_charges_need_more_processes_than_processor_time_does() -> None:
    assert plan(Load(payments=200, charge_seconds=2)).api_processes == 6


def test_the_account_limit_holds_however_high_the_endpoint_limit_is() -> None:
    assert plan(Load(payments=250, stripe_limit=1_000)).stripe_accounts == 3


def test_more_payments_never_need_fewer_resources() -> None:
    plans = [plan(Load(payments=payments, core_price=1.0)) for payments in (1, 10, 100, 1_000, 10_000)]
    for fewer, more in pairwise(plans):
        assert more.cores >= fewer.cores
        assert more.disk_gib > fewer.disk_gib
        assert more.monthly_cost >= fewer.monthly_cost


def test_memory_for_every_index_needs_no_reads() -> None:
    assert plan(Load(payments=0.1)).mongodb_reads == 0
    assert plan(Load(payments=100)).mongodb_reads > 0
    assert plan(Load(payments=100, mongodb_memory=10_000)).mongodb_reads == 0


def test_without_mails_no_mail_rate_is_required() -> None:
    assert limits(Load(mails=0))[0][1].startswith("Stripe")


def test_stripe_is_the_first_limit() -> None:
    rates = [rate for rate, _ in limits(Load())]
    assert rates == sorted(rates)
    assert limits(Load())[0] == (25, "Stripe: POST /v1/payment_intents of one account")


def test_an_unset_field_takes_no_space_in_its_sparse_index() -> None:
    sizes = index_bytes(Transaction, TYPICAL_PAYMENT)
    assert sizes["stray_charge"] == sizes["error_code, created_at, _id"] == 0
    assert sizes["open_booking"] == len("BOOK-8acd6d78744f") + 2 + 9
    without = {name: value for name, value in TYPICAL_PAYMENT.items() if name != "contact"}
    assert index_bytes(Transaction, without)["contact.user_phone"] == 0


def test_the_plan_is_printed_with_its_price(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--payments", "100", "--core-price", "25", "--memory-price", "3", "--disk-price", "0.1"])
    printed = capsys.readouterr().out
    assert "For 100 payments a second" in printed
    assert "a month" in printed
    main(["--payments", "100"])
    assert "a month" not in capsys.readouterr().out


def test_the_page_shows_the_output_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    [command] = re.findall(r"^python -m devtools.capacity (.*)$", PAGE, re.MULTILINE)
    [shown] = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    main(shlex.split(command))
    assert capsys.readouterr().out.startswith(shown)


def test_the_page_lists_each_index_with_its_size() -> None:
    rows = re.findall(r"^\| `([\w., ]+)`[^|]*\| (\d+)", PAGE, re.MULTILINE)
    sizes = index_bytes(Transaction, TYPICAL_PAYMENT)
    assert sorted((name, int(size)) for name, size in rows) == sorted(
        (name.removesuffix(" (ignores case)"), size) for name, size in sizes.items()
    )
    assert f"**{sum(sizes.values())}**" in PAGE

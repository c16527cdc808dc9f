"""`movieapp payments`: list, show, cancel, and reconcile payments."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from cli.listing import Listing, listing_options
from cli.options import confirm, connect, expected_failures, operator, since_option, yes_option
from cli.output import fields, json_option, print_json, progress, table

if TYPE_CHECKING:
    from app.payments.reconcile import Difference
    from app.payments.records import Payment

#: Heading → field of a list.
_LISTED = {
    "transaction": "transaction_id",
    "created": "created_at",
    "status": "status",
    "amount": "amount",
    "currency": "currency",
    "booking": "booking_id",
    "user": "user_id",
    "error": "error_code",
}

_TOTALS = {
    "status": "status",
    "error": "error_code",
    "count": "count",
    "amount": "amount",
    "refunded": "refunded",
    "currency": "currency",
    "first": "first",
    "last": "last",
}

#: Fields of a payment in CSV.
_CSV_FIELDS = (
    "transaction_id", "created_at", "processed_at", "status", "booking_id", "user_id", "amount", "currency",
    "amount_refunded", "payment_method", "card_brand", "card_last_four", "gateway_id", "error_code",
    "error_message",
)  # fmt: skip

#: Changes that the reconciliation plans, with the same names in JSON and tables.
_COLUMNS = ("subject", "kind", "detail", "repair", "repaired")


class _StatusChoice(click.ParamType[str]):
    """Choice of payment statuses, loaded when needed."""

    name = "status"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from app.payments.states import PaymentStatus

        return str(click.Choice([str(status) for status in PaymentStatus]).convert(value, param, ctx))


_status_option = click.option(
    "--status",
    type=_StatusChoice(),
    help="Only payments with this status, such as failed or requires_action.",
)


@click.group()
def payments() -> None:
    """List, show, total, cancel, and reconcile payments.

    \b
    Example:
        movieapp payments list --status pending
    """


@payments.command("list")
@_status_option
@click.option("--booking", metavar="ID", help="Only payments of this booking.")
@click.option("--user", metavar="ID", help="Only payments of this user.")
@since_option("payments created")
@listing_options()
@expected_failures
def list_payments(
    listing: Listing,
    status: str | None,
    booking: str | None,
    user: str | None,
    since: datetime | None,
) -> None:
    """List payments, newest first.

    \b
    Example:
        movieapp payments list --status failed --since 24h
    """
    connect()
    from app.ids import normalized_id
    from app.payments.ledger.mongo import MongoLedger

    booking, user = (named and normalized_id(named) for named in (booking, user))
    criteria = {"status": status, "booking_id": booking, "user_id": user, "since": since}
    found = MongoLedger().search(listing.fetch_limit, **criteria)  # type: ignore[arg-type]
    listing.show(
        map(_summary, found), _LISTED, csv_fields=_CSV_FIELDS, empty="No payments match these filters."
    )


@payments.command()
@_status_option
@since_option("payments created")
@listing_options(bounded=False)
@expected_failures
def totals(listing: Listing, status: str | None, since: datetime | None) -> None:
    """Show the number and total amount of payments by status and error.

    Each currency has separate totals.

    \b
    Example:
        movieapp payments totals --status pending --since 12h
    """
    connect()
    from app.operations.grouping import payment_totals

    listing.show(
        map(dataclasses.asdict, payment_totals(status, since)),
        _TOTALS,
        empty="No payments match these filters.",
    )


@payments.command()
@click.argument("payment_id", metavar="ID")
@json_option
@expected_failures
def show(payment_id: str, as_json: bool) -> None:
    """Show a payment and its history.

    ID is the id of the payment (TXN-…) or of one of its refunds (REF-…).

    \b
    Example:
        movieapp payments show TXN-0f3c9a5be7714d2f8a61c07d9e52b384
    """
    connect()
    payment = _find(payment_id)
    if as_json:
        history = [_filled(dataclasses.asdict(step)) for step in payment.history]
        print_json({**_summary(payment), "history": history})
        return
    shown = _summary(payment)
    refunds, disputes = shown.pop("refunds"), shown.pop("disputes")
    fields(shown)
    for refund in refunds:
        click.echo(f"\nRefund {refund['refund_transaction_id']}")
        fields({name: value for name, value in refund.items() if name != "refund_transaction_id"})
    for dispute in disputes:
        click.echo(f"\nDispute {dispute['dispute_id']}: {dispute['status']}, {dispute['reason']}")
    click.echo()
    table(
        ("at", "status", "actor", "gateway", "request", "event", "note"),
        (
            (step.at, step.status, step.actor, step.gateway_id, step.request_id, step.event_id, step.note)
            for step in payment.history
        ),
    )


@payments.command()
@click.argument("payment_id", metavar="ID")
@click.option("--reason", help="Reason for the audit log.")
@yes_option
@json_option
@expected_failures
def cancel(payment_id: str, reason: str | None, yes: bool, as_json: bool) -> None:
    """Cancel a payment that is waiting for the customer.

    The customer must confirm such a payment, for example with 3-D Secure. After the cancellation, the
    customer can start a new payment. Exit code: 0 if the payment is canceled, 1 if not, for example because
    its status does not allow cancellation.

    \b
    Example:
        movieapp payments cancel TXN-0f3c9a5be7714d2f8a61c07d9e52b384
    """
    settings = connect()
    from app.operations.audit import record_action
    from app.payments.service import make_payments
    from app.payments.states import Actor

    payment = _find(payment_id)
    confirm(f"Cancel {payment.id}, {payment.amount} {payment.currency}?", yes)
    record_action(operator(), "payments.cancel", payment.id, {"reason": reason})
    payment = make_payments(settings).cancel_payment(payment, Actor.OPERATOR, reason)
    if as_json:
        print_json(_summary(payment))
    else:
        click.echo(f"{payment.id} is canceled. Nothing was charged.")


@payments.command()
@since_option("payments, refunds, and disputes created", default="24h")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show differences without looking up unknown outcomes or recording anything.",
)
@click.option("--repair", is_flag=True, help="Repair the differences that movieapp can repair.")
@yes_option
@json_option
@expected_failures
def reconcile(since: datetime, dry_run: bool, repair: bool, yes: bool, as_json: bool) -> None:
    """Compare the recorded payments with those at the gateway.

    The command first looks up the payments and refunds whose outcome is unknown, and records the outcomes.
    Then it lists the payments, refunds, and disputes that differ, and those that exist on only one side. With
    --repair, it shows the planned repairs, asks for confirmation unless --yes is passed, and carries out the
    repairs. The audit log records each repair. Exit code: 0 if no difference is left, 1 if any is left.

    \b
    Example, for cron:
        movieapp payments reconcile --since 48h --json
    """
    if dry_run and repair:
        raise click.UsageError("--dry-run and --repair can't be used together.")
    settings = connect()
    from app.operations.audit import record_action
    from app.payments.reconcile import Reconciliation
    from app.payments.recovery import recover_due
    from app.payments.service import make_payments
    from app.payments.states import Actor

    side = make_payments(settings)
    if not dry_run:
        record_action(operator(), "payments.reconcile", "payments", {"since": since, "repair": repair})
    finished = 0 if dry_run else recover_due(side, actor=Actor.OPERATOR)
    found = list(Reconciliation(side, since, progress).differences())
    if repair and any(difference.repair for difference in found):
        if not as_json:
            _print(found)
            click.echo(_plan(found))
        confirm("Carry out these repairs?", yes)
        found = [_repaired(difference) for difference in found]
    left = [difference for difference in found if not difference.repaired]
    if as_json:
        print_json(
            {"since": since, "finished": finished, "differences": [_difference(item) for item in found]}
        )
    else:
        _print(found)
        rest = f"Differences left: {len(left)}." if left else "No differences."
        click.echo(f"Overdue payments looked up: {finished}. {rest}")
    if left:
        raise click.exceptions.Exit(1)


def _find(payment_id: str) -> Payment:
    from app.payments.books import Books
    from app.payments.ledger.mongo import MongoLedger

    books = Books(MongoLedger())
    return books.get_refund(payment_id)[0] if payment_id.startswith("REF-") else books.get(payment_id)


def _repaired(difference: Difference) -> Difference:
    from app.operations.audit import record_action
    from app.payments.reconcile import repaired

    if difference.repair:
        details = {"difference": difference.kind, "repair": difference.repair.what}
        record_action(operator(), "payments.repair", difference.subject, details)
    return repaired(difference)


def _print(found: Sequence[Difference]) -> None:
    if found:
        table(_COLUMNS, (tuple(_difference(item).values()) for item in found))


def _difference(item: Difference) -> dict[str, Any]:
    values = (item.subject, item.kind, item.detail, item.repair and item.repair.what, item.repaired)
    return dict(zip(_COLUMNS, values, strict=True))


def _plan(found: Sequence[Difference]) -> str:
    """Return the planned repairs, and the money that they would move."""
    repairs = [difference.repair for difference in found if difference.repair]
    totals: Counter[str] = Counter()
    for repair in repairs:
        if repair.refunds:
            amount, currency = repair.refunds
            totals[currency] += amount  # type: ignore[assignment] # Decimals add like the integers of a Counter
    money = ", ".join(f"{amount} {currency}" for currency, amount in sorted(totals.items()))
    return f"Plan: {len(repairs)} repairs. " + (f"Would refund {money}." if money else "Would move no money.")


def _summary(payment: Payment) -> dict[str, Any]:
    return {
        "transaction_id": payment.id,
        "status": payment.status,
        "booking_id": payment.booking_id,
        "user_id": payment.user_id,
        "amount": payment.amount,
        "currency": payment.currency,
        "payment_method": payment.payment_method,
        "card_brand": payment.card_brand,
        "card_last_four": payment.card_last_four,
        "gateway_id": payment.gateway_id,
        "stray_charge": payment.stray_charge,
        "fraud_warning": payment.fraud_warning,
        "error_code": payment.error_code,
        "error_message": payment.error_message,
        "amount_refunded": payment.amount_refunded,
        "refunds": [
            {
                "refund_transaction_id": refund.id,
                "status": refund.status,
                "amount": refund.amount,
                "reason": refund.reason,
                "gateway_id": refund.gateway_id,
                "error_message": refund.error_message,
                "created_at": refund.created_at,
                "processed_at": refund.processed_at,
            }
            for refund in payment.refunds
        ],
        "disputes": [
            {
                "dispute_id": dispute.id,
                "status": dispute.status,
                "amount": dispute.amount,
                "reason": dispute.reason,
                "evidence_due_by": dispute.evidence_due_by,
            }
            for dispute in payment.disputes
        ],
        "unpublished_events": [entry.event_id for entry in payment.outbox] or None,
        "recover_after": payment.recover_after,
        "created_at": payment.created_at,
        "processed_at": payment.processed_at,
    }


def _filled(step: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in step.items() if value is not None}

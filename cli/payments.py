"""`movieapp payments`: what was paid, what is open, and whether the gateway agrees."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from cli.options import connect, expected_failures, moment
from cli.output import fields, json_option, print_json, table

if TYPE_CHECKING:
    from app.models import Transaction

_STATUSES = ("pending", "requires_action", "completed", "failed", "partially_refunded", "refunded")


@click.group()
def payments() -> None:
    """Look at payments, and compare them with the gateway's books.

    \b
    Example:
        movieapp payments list --status pending
    """


@payments.command("list")
@click.option("--status", type=click.Choice(_STATUSES), help="Only payments in this state.")
@click.option("--booking", metavar="ID", help="Only payments of this booking.")
@click.option("--user", metavar="ID", help="Only payments of this user.")
@click.option("--since", type=moment, help="Only payments made since then: 2h, 7d, or a time.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many."
)
@json_option
@expected_failures
def list_payments(
    status: str | None,
    booking: str | None,
    user: str | None,
    since: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """List payments, newest first.

    \b
    Example:
        movieapp payments list --status failed --since 24h
    """
    connect()
    from app.payments.ledger import search

    found = search(limit, status=status, booking_id=booking, user_id=user, since=since)
    if as_json:
        print_json([_summary(payment) for payment in found])
        return
    columns = ("transaction", "created", "status", "amount", "currency", "booking", "user", "error")
    table(
        columns,
        (
            (
                payment.id,
                payment.created_at,
                payment.status,
                payment.amount,
                payment.currency,
                payment.booking_id,
                payment.user_id,
                payment.error_code,
            )
            for payment in found
        ),
    )


@payments.command()
@click.argument("payment_id", metavar="ID")
@json_option
@expected_failures
def show(payment_id: str, as_json: bool) -> None:
    """Show a payment, by its id or that of one of its refunds, with its whole history.

    \b
    Example:
        movieapp payments show TXN-5f0c…
    """
    connect()
    from app.payments import ledger

    find = ledger.get_by_refund if payment_id.startswith("REF-") else ledger.get
    payment = find(payment_id)
    if as_json:
        history = [_plain(move.to_mongo().to_dict()) for move in payment.history]
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
            (
                move.at,
                move.status,
                move.actor,
                move.gateway_id,
                move.request_id,
                move.event_id,
                move.note,
            )
            for move in payment.history
        ),
    )


@payments.command()
@click.option(
    "--since", type=moment, default="24h", show_default=True, help="Payments and refunds made since then."
)
@click.option("--dry-run", is_flag=True, help="Change nothing, not even what is open too long.")
@click.option("--repair", is_flag=True, help="Mend what can be mended; each repair is in the audit trail.")
@json_option
@expected_failures
def reconcile(since: datetime, dry_run: bool, repair: bool, as_json: bool) -> None:
    """Compare our books with the gateway's, both ways.

    Payments open for too long are asked after and finished. Differences are listed, and mended only with
    --repair. Exit code: 0 if the books agree at the end, 1 if a difference is left.

    \b
    Example, from cron:
        movieapp payments reconcile --since 48h --json
    """
    if dry_run and repair:
        raise click.UsageError("--dry-run and --repair exclude each other.")
    settings = connect()
    from app.gateway import make_gateway
    from app.payments.reconcile import Reconciliation
    from app.payments.service import Payments

    gateway = make_gateway(settings)
    # Events of repairs wait in the outbox, for the worker's sweep.
    side = Payments(settings, gateway, lambda _booking: None)
    books = Reconciliation(side, gateway, since, repair=repair)
    finished = 0 if dry_run else books.settle_overdue()
    found = list(books.differences())
    left = [difference for difference in found if not difference.repaired]
    if as_json:
        print_json({"since": since, "finished": finished, "differences": [vars(item) for item in found]})
    else:
        if found:
            table(
                ("subject", "difference", "detail", "repaired"),
                ((item.subject, item.kind, item.detail, item.repaired) for item in found),
            )
        agree = f"{len(left)} differences left." if left else "The books agree."
        click.echo(f"{finished} open payments finished. {agree}")
    if left:
        raise click.exceptions.Exit(1)


def _summary(payment: Transaction) -> dict[str, Any]:
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
            {"dispute_id": dispute.id, "status": dispute.status, "reason": dispute.reason}
            for dispute in payment.disputes
        ],
        "unpublished_events": [entry.event_id for entry in payment.outbox] or None,
        "recover_after": payment.recover_after,
        "created_at": payment.created_at,
        "processed_at": payment.processed_at,
    }


def _plain(move: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in move.items() if not name.startswith("_")}

"""`movieapp trace`: show everything on record about a payment or booking."""

from __future__ import annotations

import click

from cli.options import connect, expected_failures
from cli.output import json_option, print_json, table


@click.command()
@click.argument("wanted", metavar="ID")
@json_option
@expected_failures
def trace(wanted: str, as_json: bool) -> None:
    """Show everything on record about ID, oldest first.

    ID is that of a payment, a refund, a booking, an HTTP request, an event, a PaymentIntent of Stripe's, or a
    mail's Message-ID.

    \b
    Example:
        movieapp trace BOOK-123
    """
    connect()
    from app.payments.trace import trace as trace_of

    story = trace_of(wanted)
    if as_json:
        print_json([vars(entry) for entry in story])
        return
    table(
        ("at", "subject", "what", "detail"),
        (
            (
                entry.at,
                entry.subject,
                entry.what,
                "  ".join(f"{name}={text}" for name, text in entry.detail.items()),
            )
            for entry in story
        ),
    )

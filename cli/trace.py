"""`movieapp trace`: show everything on record about a payment, a booking, or a customer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.listing import Listing, listing_options
from cli.options import connect, expected_failures

if TYPE_CHECKING:
    from app.operations.trace import Entry
    from app.settings import Settings

#: Prefixes of Stripe's charge ids: cards, and other payment methods.
_CHARGES = ("ch_", "py_")

#: Heading → field of the timeline.
_LISTED = {"at": "at", "subject": "subject", "what": "what", "detail": "detail"}


@click.command()
@click.argument("search", metavar="ID|ADDRESS")
@listing_options(bounded=False)
@expected_failures
def trace(listing: Listing, search: str) -> None:
    """Show everything stored about ID or ADDRESS, oldest first.

    ID is the id of a payment, refund, booking, user, HTTP request, event, or notification. ID can also be the
    id of a PaymentIntent, refund, charge, or dispute at Stripe, or the Message-ID of an email. ADDRESS is an
    email address or a phone number.

    Instead of an id, you can pass a unique prefix of at least 4 characters, except for the ids of
    notifications and charges. Addresses and the ids that movieapp generates are case-insensitive.

    \b
    Examples:
        movieapp trace BOOK-123
        movieapp trace jane.doe@example.com
    """
    settings = connect()
    from app.operations.trace import MAX_RECORDS, story

    found = story(_payment_of_charge(settings, search) if search.startswith(_CHARGES) else search)
    listing.show(map(_row, found.entries), _LISTED)
    if found.more:
        click.echo(
            f"Only the newest {MAX_RECORDS} payments and the newest {MAX_RECORDS} notifications are shown.",
            err=True,
        )


def _payment_of_charge(settings: Settings, charge_id: str) -> str:
    """Return the PaymentIntent of a charge from Stripe, because movieapp does not record charges.

    Raises:
        click.ClickException: Stripe has no such charge.
    """
    from app.payments.service import make_payments

    found = make_payments(settings).gateway.payment_of_charge(charge_id)
    if found is None:
        raise click.ClickException(f"The gateway has no charge {charge_id}.")
    return found


def _row(entry: Entry) -> dict[str, Any]:
    return {"at": entry.at, "subject": entry.subject, "what": entry.what, "detail": entry.detail}

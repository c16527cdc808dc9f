"""`movieapp suppressions`: list, add, and remove suppressed recipients."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from app.channels import ChannelName
from cli.listing import Listing, listing_options
from cli.options import connect, expected_failures, operator
from cli.output import json_option, print_json

if TYPE_CHECKING:
    from app.models import Suppression

#: `app.suppressions.SuppressionReason`, without loading the models for --help.
REASONS = ("hard_bounce", "soft_bounces", "stop", "operator")

#: Heading → field of a list.
_LISTED = {
    "ID": "id",
    "CHANNEL": "channel",
    "ADDRESS": "hint",
    "REASON": "reason",
    "SOURCE": "source",
    "NOTE": "note",
    "SINCE": "created_at",
    "UNTIL": "expires_at",
}

_reason_option = click.option("--reason", required=True, metavar="TEXT", help="Reason for the audit log.")


@click.group()
def suppressions() -> None:
    """List, add, and remove suppressed recipients, who get no messages.

    \b
    Examples:
        movieapp suppressions list --channel email
        movieapp suppressions remove jane@example.com --reason "new mailbox"
    """


@suppressions.command("list")
@click.option(
    "--channel",
    type=click.Choice([channel.value for channel in ChannelName]),
    help="Only suppressions on this channel.",
)
@click.option("--reason", type=click.Choice(REASONS), help="Only suppressions with this reason.")
@click.option(
    "--address", metavar="ADDRESS", help="Only the suppression of this email address or phone number."
)
@listing_options()
@expected_failures
def list_all(listing: Listing, channel: str | None, reason: str | None, address: str | None) -> None:
    """List active suppressions, newest first.

    movieapp stores addresses as keyed hashes. The list shows only the domain of an email address, and the
    first and last digits of a phone number. To find the suppression of an address, pass --address.

    \b
    Examples:
        movieapp suppressions list --address jane@example.com
        movieapp suppressions list --reason stop --csv > stopped.csv
    """
    settings = connect()
    from app.models import storage_errors
    from app.operations.suppressions import look_up
    from app.suppressions.store import listed

    if address:
        entry = look_up(address, settings)
        wanted = entry and channel in (None, entry.channel) and reason in (None, entry.reason)
        entries = [entry] if entry and wanted else []
    else:
        with storage_errors():
            entries = list(listed(channel=channel, reason=reason).limit(listing.fetch_limit))
    listing.show(map(_row, entries), _LISTED, empty="No suppressions match these filters.")


@suppressions.command()
@click.argument("address")
@_reason_option
@json_option
@expected_failures
def add(address: str, reason: str, as_json: bool) -> None:
    """Suppress ADDRESS, an email address or a phone number.

    The suppression ends after SUPPRESSION_DAYS days. Only an operator can end the suppression earlier. A
    START message from the phone does not end the suppression.

    \b
    Example:
        movieapp suppressions add +14155550123 --reason "asked on the phone"
    """
    settings = connect()
    from app.operations import suppressions as operations

    result = operations.add(address, reason, operator(), settings)
    if as_json:
        print_json({"suppressed": True, "new": result == "added"})
    else:
        click.echo(
            "The recipient is suppressed." if result == "added" else "The recipient was already suppressed."
        )


@suppressions.command()
@click.argument("target", metavar="ADDRESS|ID")
@_reason_option
@json_option
@expected_failures
def remove(target: str, reason: str, as_json: bool) -> None:
    """Remove a suppression, by address or by id.

    `suppressions list` shows the ids. Exit code: 0 if the suppression was removed, 1 if the recipient was not
    suppressed.

    \b
    Example:
        movieapp suppressions remove jane@example.com --reason "new mailbox"
    """
    settings = connect()
    from app.operations import suppressions as operations

    removed = operations.remove(target, reason, operator(), settings)
    if as_json:
        print_json({"removed": removed})
    elif removed:
        click.echo("The recipient gets messages again.")
    else:
        click.echo("The recipient is not suppressed.", err=True)
    if not removed:
        sys.exit(1)


def _row(entry: Suppression) -> dict[str, Any]:
    return {
        "id": entry.id,
        "channel": entry.channel,
        "hint": entry.hint,
        "reason": entry.reason,
        "source": entry.source,
        "note": entry.note,
        "created_at": entry.created_at,
        "expires_at": entry.expires_at,
    }

"""`movieapp audit`: list operators' actions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from cli.listing import Listing, listing_options
from cli.options import connect, expected_failures, since_option

_FIELDS = ("at", "operator", "surface", "key_id", "action", "target", "details")

#: Heading → field of a list.
_LISTED = {"at": "at", "operator": "operator", "action": "action", "target": "target", "details": "details"}


@click.group()
def audit() -> None:
    """List operators' actions on the command line and in the dashboard.

    \b
    Example:
        movieapp audit list --since 24h
    """


@audit.command("list")
@click.option(
    "--operator", metavar="NAME", help="Only actions of this operator: user@host, or the name or id of a key."
)
@click.option(
    "--action",
    metavar="NAME",
    help="Only actions named NAME, such as payments.cancel, or of the kind NAME, such as payments.",
)
@click.option(
    "--target",
    metavar="ID",
    help="Only actions on the record with this id, such as a payment, event, or key.",
)
@since_option("actions recorded")
@listing_options()
@expected_failures
def list_actions(
    listing: Listing, operator: str | None, action: str | None, target: str | None, since: datetime | None
) -> None:
    """List operators' actions, newest first.

    Commands and the dashboard record an action before they carry it out. The exception is `keys create`,
    which records the action before it prints the token.

    \b
    Example:
        movieapp audit list --action payments --since 7d
    """
    connect()
    from app.operations.audit import find_actions

    found = find_actions(listing.fetch_limit, operator=operator, action=action, target=target, since=since)
    listing.show(map(_row, found), _LISTED, csv_fields=_FIELDS, empty="No actions match these filters.")


def _row(action: Any) -> dict[str, Any]:
    return {name: getattr(action, name) for name in _FIELDS}

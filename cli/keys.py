"""`movieapp keys`: create, list, and revoke API keys."""

from __future__ import annotations

from typing import Any

import click

from app.keys.scopes import SCOPES
from cli.listing import Listing, listing_options
from cli.options import connect, expected_failures, operator
from cli.output import json_option, print_json

#: Heading → field of a list.
_LISTED = {
    "ID": "id",
    "NAME": "name",
    "SCOPES": "scopes",
    "CREATED": "created_at",
    "REVOKED": "revoked_at",
}


@click.group()
def keys() -> None:
    """Create, list, and revoke API keys.

    \b
    Example:
        movieapp keys create shop --scope payments:write --scope payments:read
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="Grant this scope to the key (repeatable).",
)
@json_option
@expected_failures
def create(name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Create an API key named NAME, and print its token.

    Store the token safely. movieapp keeps only a hash of the token, and can't show the token again.

    \b
    Example:
        movieapp keys create shop --scope payments:write --scope payments:read
    """
    connect()
    from app.keys.store import create_key
    from app.operations.audit import record_action

    key, token = create_key(name, scopes)
    # Before the token is shown, so that nobody can use a key whose creation can't be recorded.
    record_action(operator(), "keys.create", key.id, {"name": name, "scopes": scopes})
    if as_json:
        print_json({"id": key.id, "name": name, "scopes": list(scopes), "token": token})
        return
    click.echo(f"{key.id}  {name}  {' '.join(scopes)}")
    click.echo(f"Token (shown only once): {token}")


@keys.command("list")
@listing_options(bounded=False)
@expected_failures
def list_all(listing: Listing) -> None:
    """List all API keys, newest first.

    \b
    Example:
        movieapp keys list --json
    """
    connect()
    from app.keys.store import list_keys

    listing.show(map(_row, list_keys()), _LISTED, empty="No API keys exist.")


@keys.command()
@click.argument("key_id")
@expected_failures
def revoke(key_id: str) -> None:
    """Permanently revoke the API key with the id KEY_ID.

    Within 30 seconds, every API process refuses the key.

    \b
    Example:
        movieapp keys revoke key_0f3c9a5be7714d2f8a61c07d9e52b384
    """
    connect()
    from app.keys.store import revoke_key
    from app.operations.audit import record_action

    record_action(operator(), "keys.revoke", key_id)
    if not revoke_key(key_id):
        raise click.ClickException(f"No valid key has the id {key_id}.")
    click.echo(f"{key_id} is revoked.")


def _row(key: Any) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
    }

"""`movieapp keys`: create, list, and revoke API keys."""

from __future__ import annotations

from typing import Any

import click

from app.keys.scopes import SCOPES
from cli.options import connect, expected_failures
from cli.output import json_option, print_json, table


@click.group()
def keys() -> None:
    """Create, list, and revoke API keys.

    \b
    Example:
        movieapp keys create "web shop" --scope payments:write --scope payments:read
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="Scope to grant; may be repeated.",
)
@json_option
@expected_failures
def create(name: str, scopes: tuple[str, ...], as_json: bool) -> None:
    """Create a key called NAME. Its token is shown once and never stored.

    \b
    Example:
        movieapp keys create "web shop" --scope payments:write
    """
    connect()
    from app.keys.store import create_key

    key, token = create_key(name, scopes)
    if as_json:
        print_json({"id": key.id, "name": name, "scopes": list(scopes), "token": token})
        return
    click.echo(f"{key.id}  {name}  {' '.join(scopes)}")
    click.echo(f"Token, shown only now: {token}")


@keys.command("list")
@json_option
@expected_failures
def list_all(as_json: bool) -> None:
    """List all keys, newest first.

    \b
    Example:
        movieapp keys list --json
    """
    connect()
    from app.keys.store import list_keys

    found = [_row(key) for key in list_keys()]
    if as_json:
        print_json(found)
    elif found:
        columns = ("ID", "NAME", "SCOPES", "CREATED", "REVOKED")
        rows = [list(row.values()) for row in found]
        table(columns, [(key_id, name, " ".join(scopes), *times) for key_id, name, scopes, *times in rows])
    else:
        click.echo("No keys yet.")


@keys.command()
@click.argument("key_id")
@expected_failures
def revoke(key_id: str) -> None:
    """Revoke the key KEY_ID permanently. Every process refuses it within half a minute.

    \b
    Example:
        movieapp keys revoke key_5f0c…
    """
    connect()
    from app.keys.store import revoke_key

    if not revoke_key(key_id):
        raise click.ClickException(f"no key in force is called {key_id}")
    click.echo(f"{key_id} is revoked.")


def _row(key: Any) -> dict[str, Any]:
    from app.clock import iso

    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": iso(key.created_at),
        "revoked_at": iso(key.revoked_at) if key.revoked_at else None,
    }

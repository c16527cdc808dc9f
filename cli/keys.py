"""`movieapp keys`: API keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from app.scopes import SCOPES
from cli.options import data_dir_option, expected_failures, settings_for

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def keys() -> None:
    """Make, list and revoke API keys.

    \b
    Example:
        movieapp keys create "web shop" --scope payments:write --scope payments:read
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="May be repeated."
)
@json_option
@data_dir_option
@expected_failures
def create(name: str, scopes: tuple[str, ...], as_json: bool, data_dir: Path) -> None:
    """Make a key called NAME. Its token is shown once and stored nowhere.

    \b
    Example:
        movieapp keys create "web shop" --scope payments:write
    """
    _connect(data_dir)
    from app.keys import create_key

    key, token = create_key(name, scopes)
    if as_json:
        click.echo(json.dumps({"id": key.id, "name": name, "scopes": list(scopes), "token": token}))
        return
    click.echo(f"{key.id}  {name}  {' '.join(scopes)}")
    click.echo(f"Token, shown only now: {token}")


@keys.command("list")
@json_option
@data_dir_option
@expected_failures
def list_all(as_json: bool, data_dir: Path) -> None:
    """List every key, newest first.

    \b
    Example:
        movieapp keys list --json
    """
    _connect(data_dir)
    from app.keys import list_keys

    found = [_row(key) for key in list_keys()]
    if as_json:
        click.echo(json.dumps(found))
        return
    for row in found:
        state = f"revoked {row['revoked_at']}" if row["revoked_at"] else "in force"
        click.echo(f"{row['id']}  {row['name']}  {' '.join(row['scopes'])}  {row['created_at']}  {state}")
    if not found:
        click.echo("No keys yet.")


@keys.command()
@click.argument("key_id")
@data_dir_option
@expected_failures
def revoke(key_id: str, data_dir: Path) -> None:
    """Revoke the key KEY_ID, for good. Every process refuses it within half a minute.

    \b
    Example:
        movieapp keys revoke key_5f0c…
    """
    _connect(data_dir)
    from app.keys import revoke_key

    if not revoke_key(key_id):
        raise click.ClickException(f"no key in force is called {key_id}")
    click.echo(f"{key_id} is revoked.")


def _connect(data_dir: Path) -> None:
    from app import models

    models.connect(settings_for(data_dir))


def _row(key: Any) -> dict[str, Any]:
    from app.clock import iso

    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": iso(key.created_at),
        "revoked_at": iso(key.revoked_at) if key.revoked_at else None,
    }

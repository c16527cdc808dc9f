"""`movieapp migrate`: prepare the database for this version."""

from __future__ import annotations

import click

from cli.options import connect, expected_failures
from cli.output import json_option, print_json


@click.command()
@json_option
@expected_failures
def migrate(as_json: bool) -> None:
    """Build the database indexes that are missing.

    A worker does this when it starts. Run it before an upgrade of a large database: a process refuses to use
    a collection that has documents but lacks an index. Safe to repeat, and while the system runs.

    \b
    Example:
        movieapp migrate
    """
    connect()
    from app.models import create_indexes, missing_indexes, storage_errors

    with storage_errors():
        missing = missing_indexes()
    create_indexes()
    if as_json:
        print_json({"created": missing})
    elif missing:
        click.echo("\n".join(f"created {name}" for name in missing))
    else:
        click.echo("Every index exists.")

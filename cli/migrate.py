"""`movieapp migrate`: prepare the database for this version."""

from __future__ import annotations

import click

from cli.options import connect, expected_failures
from cli.output import json_option, print_json


@click.command()
@click.option("--drop-obsolete", is_flag=True, help="Also drop indexes that this version does not use.")
@json_option
@expected_failures
def migrate(drop_obsolete: bool, as_json: bool) -> None:
    """Build missing database indexes.

    Workers also build missing indexes when they start. A process refuses to use a collection that has
    documents but lacks an index. When you upgrade with a large database, run `movieapp migrate` of the new
    version before you start the other processes of that version. You can repeat the command, and run it while
    the system is running.

    Each index uses memory and slows down writes. Drop obsolete indexes once every process runs this version.
    If you then roll back, processes of the earlier version can't use the affected collections until a worker
    of that version has built the dropped indexes again.

    \b
    Examples:
        movieapp migrate
        movieapp migrate --drop-obsolete
    """
    connect()
    from app import models

    with models.storage_errors():
        missing = models.missing_indexes()
        obsolete = models.obsolete_indexes()
    models.create_indexes()
    if drop_obsolete:
        models.drop_obsolete_indexes()
    changes = {"created": missing, "dropped" if drop_obsolete else "obsolete": obsolete}
    if as_json:
        print_json(changes)
        return
    for change, names in changes.items():
        for name in names:
            click.echo(f"{change} {name}")
    if not missing:
        click.echo("Every index exists.")

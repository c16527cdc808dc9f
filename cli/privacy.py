"""`movieapp privacy`: export and erase a person's data."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.options import confirm, connect, expected_failures, operator, yes_option
from cli.output import json_option, print_json

if TYPE_CHECKING:
    from app.operations.privacy import Erased
    from app.privacy.erasures import Person


def _person_options(command: Callable[..., None]) -> Any:
    """Decorate a command with the options that name a person."""
    for name, metavar, what in reversed(
        (
            ("user", "ID", "User id of the person (repeatable)."),
            ("email", "ADDRESS", "Email address of the person (repeatable)."),
            (
                "phone",
                "NUMBER",
                "Phone number of the person, with + and the country code (repeatable). Also pass --user or "
                "--email: a phone number alone does not find all events recorded while SMS was off.",
            ),
        )
    ):
        command = click.option(f"--{name}", f"{name}s", multiple=True, metavar=metavar, help=what)(command)
    return command


def _person(users: tuple[str, ...], emails: tuple[str, ...], phones: tuple[str, ...]) -> Person:
    from app.privacy.erasures import Person

    if not (users or emails or phones):
        raise click.UsageError("Specify the person with --user, --email, or --phone.")
    return Person(users, emails, phones)


@click.group()
def privacy() -> None:
    """Export and erase a person's data.

    \b
    Example:
        movieapp privacy erase --email jane.doe@example.com --dry-run
    """


@privacy.command()
@_person_options
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write to this file. If the file is new, only you can read it.  [default: standard output]",
)
@expected_failures
def export(
    users: tuple[str, ...], emails: tuple[str, ...], phones: tuple[str, ...], output: Path | None
) -> None:
    """Print all data stored about a person, as JSON.

    \b
    Example:
        movieapp privacy export --email jane.doe@example.com --output jane.json
    """
    person = _person(users, emails, phones)
    settings = connect()
    from app.operations.privacy import Privacy

    found = Privacy(settings).export(person, operator())
    for what, explanation in found["left"].items():
        click.echo(f"Not exported: {what}: {explanation}.", err=True)
    if output is None:
        print_json(found)
        return
    from contextlib import redirect_stdout

    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file, redirect_stdout(file):
        print_json(found)
    click.echo(
        f"{output} has {len(found['transactions'])} payments and {len(found['notifications'])} notifications."
    )


@privacy.command()
@_person_options
@click.option("--dry-run", is_flag=True, help="Show which data would be erased, and change nothing.")
@yes_option
@json_option
@expected_failures
def erase(
    users: tuple[str, ...],
    emails: tuple[str, ...],
    phones: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Erase a person's data, and keep accounting data.

    Amounts, ids, and statuses are accounting data. If an old event about the person is replayed, movieapp
    redacts the event. Exit code: 0 if the command could erase all data that it covers, 1 if some is left. The
    report lists the data that is left. It also names places that the command does not cover, such as backups.

    \b
    Example:
        movieapp privacy erase --user user_123 --email jane.doe@example.com
    """
    person = _person(users, emails, phones)
    settings = connect()
    from app.operations.privacy import Privacy

    side = Privacy(settings)
    planned = side.erase(person, operator(), dry_run=True)
    if not dry_run:
        confirm(f"Erase personal data of {_counts(planned)}? This can't be undone.", yes)
    done = planned if dry_run else side.erase(person, operator(), dry_run=False)
    if as_json:
        print_json({**_report(done), "dry_run": dry_run})
    else:
        _print(done, dry_run)
    if done.left:
        raise click.exceptions.Exit(1)


def _counts(done: Erased) -> str:
    return (
        f"{len(done.transactions)} payments, {len(done.notifications)} notifications, "
        f"and {len(done.dead_letters)} dead letters"
    )


def _report(done: Erased) -> dict[str, Any]:
    from app.operations.privacy import ELSEWHERE, HELD

    return {**asdict(done), "collections": HELD, "elsewhere": list(ELSEWHERE)}


def _print(done: Erased, dry_run: bool) -> None:
    from app.operations.privacy import ELSEWHERE, HELD

    click.echo(f"{'Would erase' if dry_run else 'Erased'}: {_counts(done)}.")
    for what, explanation in done.left.items():
        click.echo(f"Not erased: {what}: {explanation}.", err=True)
    click.echo("\nCollections in MongoDB:")
    for collection, what in HELD.items():
        click.echo(f"  {collection}: {what}")
    click.echo("\nPersonal data that this command does not erase:")
    for place in ELSEWHERE:
        click.echo(f"  {place}")

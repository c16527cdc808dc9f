"""`movieapp attempts`: who is locked out after declined payments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.options import command_settings, expected_failures
from cli.output import json_option, print_json, table

if TYPE_CHECKING:
    from app.abuse.attempts import AttemptGuard


#: `app.settings.ATTEMPT_KINDS`, without loading the settings for --help.
KINDS = ("booking", "user", "ip", "card")


@click.group()
def attempts() -> None:
    """List and lift lockouts after declined payments.

    \b
    Example:
        movieapp attempts list
    """


@attempts.command("list")
@json_option
@expected_failures
def list_all(as_json: bool) -> None:
    """List who is locked out, the longest first.

    \b
    Example:
        movieapp attempts list --json
    """
    guard = _guard()
    found = [_row(lock) for lock in _redis(guard.locks)]
    if as_json:
        print_json(found)
    elif found:
        table(("KIND", "SUBJECT", "UNTIL", "LOCKOUTS"), [list(row.values()) for row in found])
    else:
        click.echo("Nobody is locked out.")


@attempts.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("subject")
@expected_failures
def lift(kind: str, subject: str) -> None:
    """Let SUBJECT, a booking, user, address, or card, pay again. Its declines are forgotten.

    \b
    Example:
        movieapp attempts lift user user_123
    """
    from app.abuse.addresses import client_of

    if kind == "ip" and "/" not in subject:
        try:
            subject = client_of(subject)
        except ValueError:
            raise click.ClickException(f"{subject!r} is not an IP address") from None
    guard = _guard()
    if not _redis(lambda: guard.lift(kind, subject)):
        raise click.ClickException(f"no declines of {kind} {subject} are remembered")
    click.echo(f"{kind} {subject} may pay again.")


def _guard() -> AttemptGuard:
    from app.abuse.attempts import make_guard

    return make_guard(command_settings())


def _redis(question: Any) -> Any:
    import redis

    try:
        return question()
    except redis.RedisError as error:
        raise click.ClickException(f"Redis does not answer ({type(error).__name__}).") from None


def _row(lock: Any) -> dict[str, Any]:
    from datetime import UTC, datetime

    from app.clock import iso

    until = iso(datetime.fromtimestamp(lock.until, UTC))
    return {"kind": lock.kind, "subject": lock.name, "until": until, "lockouts": lock.level}

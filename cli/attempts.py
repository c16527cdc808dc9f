"""`movieapp attempts`: list and lift lockouts after declined payments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cli.listing import Listing, listing_options
from cli.options import command_settings, connect, expected_failures, no_stack, operator

if TYPE_CHECKING:
    from app.abuse.attempts import AttemptGuard


#: `app.settings.ATTEMPT_KINDS`, without loading the settings for --help.
KINDS = ("booking", "user", "ip", "card")


#: Heading → field of a list.
_LISTED = {"KIND": "kind", "SUBJECT": "subject", "UNTIL": "until", "LOCKOUTS": "lockouts"}


@click.group()
def attempts() -> None:
    """List and lift payment lockouts.

    \b
    Example:
        movieapp attempts list
    """


@attempts.command("list")
@listing_options(bounded=False)
@expected_failures
def list_all(listing: Listing) -> None:
    """List payment lockouts, latest end time first.

    movieapp locks out a booking, user, IP address, or card when the number of declined payments reaches a
    limit in CARD_ATTEMPT_LIMITS.

    \b
    Example:
        movieapp attempts list --json
    """
    guard = _guard()
    listing.show(map(_row, _redis(guard.locks)), _LISTED, empty="Nobody is locked out.")


@attempts.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("subject")
@expected_failures
def lift(kind: str, subject: str) -> None:
    """Lift the payment lockout of a booking, user, IP address, or card.

    SUBJECT is the value that `attempts list` shows in the column SUBJECT. The command also deletes the
    recorded declines of SUBJECT.

    \b
    Example:
        movieapp attempts lift user user_123
    """
    from app.abuse.addresses import client_of
    from app.abuse.attempts import make_guard
    from app.operations.audit import record_action

    if kind == "ip" and "/" not in subject:
        try:
            subject = client_of(subject)
        except ValueError:
            raise click.ClickException(f"{subject!r} is not an IPv4 or IPv6 address.") from None
    guard = make_guard(connect())
    # The address of a customer is personal data.
    record_action(operator(), "attempts.lift", kind if kind == "ip" else subject, {"kind": kind})
    if not _redis(lambda: guard.lift(kind, subject)):
        raise click.ClickException(f"No declines are recorded for the {kind} {subject}.")
    click.echo(f"Lifted the lockout of {kind} {subject}.")


def _guard() -> AttemptGuard:
    from app.abuse.attempts import make_guard

    return make_guard(command_settings())


def _redis(question: Any) -> Any:
    import redis

    from app.errors import unavailable

    try:
        return question()
    except redis.RedisError as error:
        message = no_stack("redis_url") or unavailable("Redis", error).message
        raise click.ClickException(message) from None


def _row(lock: Any) -> dict[str, Any]:
    from datetime import UTC, datetime

    until = datetime.fromtimestamp(lock.until, UTC)
    return {"kind": lock.kind, "subject": lock.name, "until": until, "lockouts": lock.level}

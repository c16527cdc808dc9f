"""`movieapp bounces`: process bounce messages, for example from a mail server's pipe."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from cli.options import connect
from cli.output import fields, json_option, print_json

#: With this exit code, a mail server keeps the message and tries again later (sysexits.h).
_EX_TEMPFAIL = os.EX_TEMPFAIL

_READ_BYTES = 64 * 1024


@click.group()
def bounces() -> None:
    """Process bounce messages.

    \b
    Example:
        movieapp bounces ingest returned.eml
    """


@bounces.command()
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, allow_dash=True))
@json_option
def ingest(file: str, as_json: bool) -> None:
    """Process the bounce message in FILE, and print the result.

    Pass - as FILE to read standard input, for example in a pipe from a mail server. Processing a message
    again has no further effect.

    \b
    Exit codes:
        0   The message was processed, even if it is not a bounce message
            or matches no sent email.
        2   The arguments are invalid.
        75  The message was not processed, for example because MongoDB is
            unavailable. Mail servers keep the message and try again later.

    \b
    Examples:
        movieapp bounces ingest returned.eml
        movieapp bounces ingest - < returned.eml
    """
    raw = _read(file)
    try:
        settings = connect()
        from app.bounces.intake import Door, take

        taken = take(raw, settings, Door.COMMAND)
    except click.ClickException as error:
        _try_later(error.message)
    except Exception as error:  # any error: the mail must not be lost
        _try_later(f"{type(error).__name__}: {error}")
    bounce = taken.bounce
    result = {
        "outcome": taken.outcome,
        "what": taken.what,
        "kind": bounce.verdict.kind if bounce else None,
        "reason": bounce.verdict.reason if bounce else None,
        "status": bounce.status if bounce else None,
        "reply": bounce.reply if bounce else None,
        "message_id": bounce.message_id if bounce else None,
        "recipient": bounce.recipients[0] if bounce and bounce.recipients else None,
        "notification_id": taken.notification_id,
    }
    if as_json:
        print_json(result)
    else:
        fields(result)


def _read(name: str) -> bytes:
    from app.bounces.reading import MAX_BYTES

    try:
        with click.open_file(name, "rb") as file:
            raw: bytes = file.read(MAX_BYTES)
            # Read everything, because a mail server counts a broken pipe as a failure.
            while file.read(_READ_BYTES):
                pass
    except OSError as error:
        raise click.BadParameter(f"{name}: {error.strerror}", param_hint="FILE") from None
    return raw


def _try_later(reason: str) -> NoReturn:
    click.echo(f"The message was not processed: {reason.rstrip('.')}. Try again later.", err=True)
    sys.exit(_EX_TEMPFAIL)

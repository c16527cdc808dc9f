"""`movieapp smtp-check`: every step of sending a mail but the mail, and what to do about one that fails."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.clock import utcnow
from cli.options import data_dir_option, settings_for
from cli.output import json_option, print_json, table

if TYPE_CHECKING:
    from actors.mail.errors import SmtpFailure

#: A certificate that expires sooner wants renewing now.
_RENEW_BEFORE = timedelta(days=14)

#: Step that failed → what to do, where the failure's own words do not say it.
_ADVICE = {
    "connect": "Is SMTP_SERVER right, and SMTP_PORT (587 for starttls, 465 for ssl)? Many networks block 25.",
    "greeting": "The server does not want us now: it may be busy, or have this address on a list.",
    "starttls": "If the server wants TLS from the start, set SMTP_SECURITY=ssl and SMTP_PORT=465.",
    "mail": "The server does not let this account send as FROM_EMAIL.",
    "rcpt": "The server does not take mail for this recipient.",
}


@click.command("smtp-check")
@click.option("--to", "recipient", metavar="ADDRESS", help="Also ask whether a mail to it would be taken.")
@json_option
@data_dir_option
def smtp_check(recipient: str | None, as_json: bool, data_dir: Path) -> None:
    """Connect to the SMTP server, secure the connection and log in, without sending anything.

    Names the step that fails and what to do about it. Exit code: 0 if all is well, 1 if a step fails or the
    certificate expires within two weeks.

    \b
    Example:
        movieapp smtp-check --to jane.doe@example.com
    """
    settings = settings_for(data_dir)
    from actors.mail.addresses import ascii_address
    from actors.mail.errors import InvalidAddress, SmtpFailure
    from actors.mail.server import Server
    from actors.mail.session import Session

    server = Server.of(settings)
    steps: list[dict[str, Any]] = []

    def watch(phase: str, seconds: float) -> None:
        steps.append({"step": str(phase), "milliseconds": round(seconds * 1000, 1)})

    failed: SmtpFailure | None = None
    tls: tuple[str, datetime] | None = None
    try:
        to = ascii_address(recipient) if recipient else None
        session = Session(server, time.monotonic() + server.longest_to_data, watch)
        try:
            tls = session.tls
            if to:
                session.ask(ascii_address(settings.from_email), to)
        finally:
            session.close()
    except InvalidAddress as error:
        raise click.UsageError(str(error)) from None
    except SmtpFailure as error:
        failed = error

    expiring = tls is not None and tls[1] - utcnow() < _RENEW_BEFORE
    told = {
        "server": f"{server.host}:{server.port}",
        "security": server.security,
        "steps": steps,
        "tls": tls and tls[0],
        "certificate_expires": tls and tls[1],
        "failed": failed and {"step": failed.phase, "reason": str(failed), "advice": _advice(failed)},
    }
    if as_json:
        print_json(told)
    else:
        _show(told)
        if expiring:
            click.echo("The certificate expires soon: renew it.", err=True)
    if failed or expiring:
        raise click.exceptions.Exit(1)


def _advice(failed: SmtpFailure) -> str | None:
    # A refused login or certificate says itself what to do.
    own_words = failed.phase == "auth" or "certificate" in failed.reply
    return None if own_words else _ADVICE.get(failed.phase)


def _show(told: dict[str, Any]) -> None:
    click.echo(f"{told['server']}, {told['security']}")
    table(("step", "ms"), ((step["step"], step["milliseconds"]) for step in told["steps"]))
    if told["tls"]:
        click.echo(f"{told['tls']}, certificate until {told['certificate_expires']:%Y-%m-%d}")
    failed = told["failed"]
    if failed:
        click.echo(f"Failed: {failed['reason']}", err=True)
        if failed["advice"]:
            click.echo(failed["advice"], err=True)
    else:
        click.echo("Ready to send.")

"""`movieapp smtp-check`: run every step of sending a mail except the mail, and advise on failures."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from app.addresses import InvalidAddress, parse_address
from app.clock import utcnow
from cli.options import command_settings
from cli.output import json_option, print_json, table

if TYPE_CHECKING:
    from actors.channels.email.server import Server
    from actors.errors import DeliveryError
    from app.settings import Settings

#: OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python's ssl module has no name for.
_NO_CHECK_TIME = 0x200000

#: A certificate that expires within this time fails the check.
_RENEW_BEFORE = timedelta(days=14)

#: Failed step → what to do, if the error does not say it.
_ADVICE = {
    "connect": "Check SMTP_SERVER and SMTP_PORT: 587 for starttls, 465 for ssl. Many networks block port 25.",
    "greeting": "The server refuses the connection. It may be busy, or block this host's IP address.",
    "starttls": "If the server requires implicit TLS, set SMTP_SECURITY=ssl and SMTP_PORT=465.",
    "mail": "The account may not send as FROM_EMAIL. Set FROM_EMAIL to an address of the account.",
    "rcpt": "The server does not accept email for this recipient. Check the address.",
}


@dataclass
class Probe:
    """Result of a connection attempt: the successful steps and the first failure.

    Attributes:
        steps: successful steps → their duration in milliseconds.
        tls: version of TLS.
        expires: expiry of the server's certificate.
        failed: the failed step and its error.
    """

    server: Server
    steps: list[tuple[str, float]] = field(default_factory=list)
    tls: str | None = None
    expires: datetime | None = None
    failed: DeliveryError | None = None

    @property
    def is_expiring(self) -> bool:
        """Return whether the certificate is about to expire."""
        return self.expires is not None and self.expires - utcnow() < _RENEW_BEFORE

    @property
    def advice(self) -> str | None:
        """Return advice on the failure, if its message has none."""
        failed = self.failed
        if failed and self.expires and self.expires < utcnow():
            return f"The certificate expired on {self.expires:%Y-%m-%d}: renew it on the mail server."
        if failed is None or failed.phase == "auth" or "certificate" in failed.reply:
            return None
        return _ADVICE.get(failed.phase or "")


def probe(settings: Settings, recipient: str | None = None, server: Server | None = None) -> Probe:
    """Run every step of sending, up to RCPT for `recipient`, and send nothing.

    Args:
        settings: have the SMTP_* variables.
        recipient: address to check with RCPT.
        server: the server; None for the primary one.

    Raises:
        InvalidAddress: the recipient's or sender's address is invalid.
    """
    from actors.channels.email.server import Server
    from actors.channels.email.session import Session
    from actors.errors import DeliveryError

    result = Probe(server or Server.of(settings))
    to = str(parse_address(recipient)) if recipient else None
    try:
        session = Session(
            result.server,
            time.monotonic() + result.server.longest_to_data,
            lambda phase, seconds: result.steps.append((str(phase), round(seconds * 1000, 1))),
        )
        try:
            if session.tls:
                result.tls, result.expires = session.tls
            if to:
                session.check_recipient(str(parse_address(settings.from_email)), to)
        finally:
            session.close()
    except DeliveryError as error:
        result.failed = error
        if "expired" in error.reply:
            result.expires = _expired_at(result.server)
    return result


def _expired_at(server: Server) -> datetime | None:
    """Return when the otherwise valid certificate of `server` expired."""
    from actors.channels.email.session import Session
    from actors.errors import DeliveryError

    server.tls.verify_flags |= _NO_CHECK_TIME
    try:
        session = Session(replace(server, username=""), time.monotonic() + server.timeout)
    except DeliveryError:
        return None
    expired = session.tls and session.tls[1]
    session.close()
    return expired


@click.command("smtp-check")
@click.option(
    "--to",
    "recipient",
    metavar="ADDRESS",
    help="Also check whether the server would accept an email to this address.",
)
@json_option
def smtp_check(recipient: str | None, as_json: bool) -> None:
    """Connect to the SMTP server and log in, without sending email.

    The command negotiates TLS according to SMTP_SECURITY. It shows which step fails, and what to do about the
    failure. Exit code: 0 if every step succeeds, 1 if a step fails or the server's certificate expires within
    two weeks.

    \b
    Example:
        movieapp smtp-check --to jane.doe@example.com
    """
    settings = command_settings()

    try:
        result = probe(settings, recipient)
    except InvalidAddress as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        print_json(_jsonable(result))
    else:
        _show(result)
    if result.failed or result.is_expiring:
        raise click.exceptions.Exit(1)


def _jsonable(result: Probe) -> dict[str, Any]:
    failed = result.failed
    return {
        "server": result.server.address,
        "security": result.server.security,
        "steps": [{"step": step, "milliseconds": milliseconds} for step, milliseconds in result.steps],
        "tls": result.tls,
        "certificate_expires": result.expires,
        "failed": failed and {"step": failed.phase, "reason": str(failed), "advice": result.advice},
    }


def _show(result: Probe) -> None:
    click.echo(f"{result.server.address}, {result.server.security}")
    table(("step", "ms"), result.steps)
    if result.tls:
        click.echo(f"{result.tls}, certificate valid until {result.expires:%Y-%m-%d}")
    if result.is_expiring:
        click.echo("The mail server's certificate expires within two weeks. Renew it.", err=True)
    if result.failed:
        click.echo(f"Failed: {result.failed}", err=True)
        if result.advice:
            click.echo(result.advice, err=True)
    else:
        click.echo("Ready to send.")

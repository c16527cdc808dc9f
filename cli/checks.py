"""What `movieapp check` shows: every probe of the services, and the mail server's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from app.operations.health import PROBES, Finding, Level, Probe

if TYPE_CHECKING:
    from actors.channels.email.server import Server
    from app.settings import Settings

#: The mail server is given more time than the others: its greeting may be slow on purpose.
_SMTP_TIMEOUT_SECONDS = 5.0


def _smtp(settings: Settings, _timeout: float) -> Iterator[Finding]:
    """Connect, negotiate TLS, and log in: what `movieapp smtp-check` does, without its details."""
    from actors.channels.email.server import Server

    quickly = {"smtp_timeout": min(settings.smtp_timeout, _SMTP_TIMEOUT_SECONDS)}
    changed = settings.model_copy(update=quickly)
    for server in Server.all(changed):
        yield _smtp_server(changed, server)


def _smtp_server(settings: Settings, server: Server) -> Finding:
    from cli.smtp_check import probe

    name = "smtp" if server.relay == "primary" else "smtp fallback"
    outcome = probe(settings, server=server)
    if outcome.failed:
        advice = outcome.advice or "movieapp smtp-check shows each step."
        return Finding(name, Level.BAD, str(outcome.failed), advice)
    until = f", certificate until {outcome.expires:%Y-%m-%d}" if outcome.expires else ""
    if outcome.expiring:
        return Finding(name, Level.BAD, f"ready to send{until}", "Renew the mail server's certificate.")
    return Finding(name, Level.OK, f"ready to send{until}")


#: Name → probe. Not in app/operations: only processes that send mail can tell.
CHECKS: dict[str, Probe] = {**PROBES, "smtp": _smtp}

"""The probes of `movieapp check`: all health probes, those of the mail servers, and the bounce mailbox."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from app.clock import utcnow
from app.operations.health import PROBES, Finding, Level, Probe
from app.text import one_line

if TYPE_CHECKING:
    from actors.channels.email.server import Server
    from app.settings import Settings

#: Longer timeout for mail servers, because they may delay a greeting or a refusal on purpose.
_MAIL_TIMEOUT_SECONDS = 5.0

#: Maximum characters shown of a mail server's reply.
_MAX_REPLY_LENGTH = 200

_NO_WORD = re.compile(r"\W")

#: Remaining validity of a certificate at which a warning is shown.
_RENEW_BEFORE = timedelta(days=30)


def _smtp(settings: Settings, _timeout: float) -> Iterator[Finding]:
    """Connect, negotiate TLS, and log in, like `movieapp smtp-check` without details."""
    from actors.channels.email.server import Server

    quickly = {"smtp_timeout": min(settings.smtp_timeout, _MAIL_TIMEOUT_SECONDS)}
    changed = settings.model_copy(update=quickly)
    for server in Server.all(changed):
        yield _smtp_server(changed, server)


def _smtp_server(settings: Settings, server: Server) -> Finding:
    from cli.smtp_check import probe

    name = "smtp" if server.relay == "primary" else "smtp fallback"
    outcome = probe(settings, server=server)
    if outcome.failed:
        advice = outcome.advice or "To see each step, run movieapp smtp-check."
        return Finding(name, Level.BAD, str(outcome.failed), advice)
    until = f", certificate valid until {outcome.expires:%Y-%m-%d}" if outcome.expires else ""
    if outcome.is_expiring:
        return Finding(name, Level.BAD, f"ready to send{until}", "Renew the mail server's certificate.")
    return Finding(name, Level.OK, f"ready to send{until}")


def _bounce_mailbox(settings: Settings, timeout: float) -> Iterator[Finding]:
    """Check the login to the bounce mailbox, and its folders. Return nothing if no mailbox is set."""
    if url := settings.bounce_mailbox_url.get_secret_value():
        yield _mailbox(url, settings, max(timeout, _MAIL_TIMEOUT_SECONDS))


def _mailbox(url: str, settings: Settings, timeout: float) -> Finding:
    from imapclient import SocketTimeout
    from imapclient.exceptions import IMAPClientError, LoginError

    from app.bounces.mailbox import Address, open_mailbox

    name, at = "bounce mailbox", Address.parse(url)
    server = f"{at.host}:{at.port}"
    timeouts = SocketTimeout(connect=timeout, read=timeout)
    try:
        with open_mailbox(url, settings.bounce_mailbox_ca_file, timeout=timeouts, readonly=True) as box:
            missing, waiting = box.missing_folders(), len(box.waiting())
    except ssl.SSLCertVerificationError as error:
        what = f"{server}: the certificate is not trusted ({error.verify_message.rstrip('.')})"
        advice = "If a private CA signed the certificate, set BOUNCE_MAILBOX_CA_FILE to the CA's certificate."
        return Finding(name, Level.BAD, what, advice)
    except OSError as error:
        what = f"{server}: {error.strerror or type(error).__name__}"
        return Finding(name, Level.BAD, what, "Check the host and port in BOUNCE_MAILBOX_URL.")
    except LoginError as error:
        what = f"{server} refuses the login: {_reply(error, at.password)}"
        advice = (
            "Check the user and the password in BOUNCE_MAILBOX_URL. Many providers require an app password."
        )
        return Finding(name, Level.BAD, what, advice)
    except IMAPClientError as error:
        what = f"{server}, folder {at.folder}: {_reply(error, at.password)}"
        advice = (
            "Check the folder at the end of BOUNCE_MAILBOX_URL. It must be the folder that receives bounces."
        )
        return Finding(name, Level.BAD, what, advice)
    if missing:
        advice = "Start a worker, which creates the folder within a minute. Allow the user to create folders."
        return Finding(name, Level.WARNING, f"no folder {' or '.join(missing)}", advice)
    return Finding(name, Level.OK, f"login works, {waiting} messages wait in {at.folder}")


def _reply(error: Exception, password: str) -> str:
    """Return what the server replied, on one line."""
    # Some servers repeat the command they refuse, and IMAP quotes it: compare letters and digits only.
    if _NO_WORD.sub("", password) in _NO_WORD.sub("", str(error)):
        return "a reply that contains the password"
    return one_line(str(error), _MAX_REPLY_LENGTH)


def _wallets(settings: Settings, _timeout: float) -> Iterator[Finding]:
    """Report the certificates of wallet passes; nothing if passes are disabled."""
    if apple := settings.apple_wallet:
        for name, certificate in (
            ("pass certificate", apple.certificate),
            ("WWDR certificate", apple.intermediate),
        ):
            yield _certificate(name, certificate.not_valid_after_utc)
    if google := settings.google_wallet:
        yield Finding("google wallet", Level.OK, f"signs as {google.email} for issuer {google.issuer_id}")


def _certificate(name: str, expires: datetime) -> Finding:
    left = expires - utcnow()
    what = f"{name} valid until {expires:%Y-%m-%d}"
    if left <= timedelta():
        advice = "Renew the certificate (docs/wallet-passes.md). Until then, emails have no passes."
        return Finding("apple wallet", Level.BAD, what, advice)
    if left < _RENEW_BEFORE:
        return Finding(
            "apple wallet", Level.WARNING, what, "Renew the certificate soon (docs/wallet-passes.md)."
        )
    return Finding("apple wallet", Level.OK, what)


#: Name → probe. Not in app/operations, because only processes that send mail can run them.
CHECKS: dict[str, Probe] = {**PROBES, "smtp": _smtp, "bounce mailbox": _bounce_mailbox, "wallets": _wallets}

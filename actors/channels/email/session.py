"""A session with an SMTP server. Each command has a timeout, a phase, and a delivery error."""

from __future__ import annotations

import re
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from actors.channels.email.connect import Connection, misconfigured
from actors.channels.email.errors import is_connection_lost, smtp_error
from actors.channels.email.login import log_in
from actors.channels.email.replies import Phase, Reply, failure
from actors.errors import DeliveryError, PermanentFailure, Postponed, Uncertain
from app.telemetry import metrics, tracing
from app.telemetry.logs import get_logger
from app.text import one_line

if TYPE_CHECKING:
    from actors.channels.email.server import Server

log = get_logger(__name__)

#: Seconds for optional commands: RSET on a reused connection, and QUIT.
_RSET_AND_QUIT_TIMEOUT_SECONDS = 5.0

#: Called with a step and its duration in seconds.
Watch = Callable[[Phase, float], None]


def count(phase: Phase, seconds: float) -> None:
    """Observe the duration of a step in the metrics: the default `Watch`."""
    metrics.SMTP.labels(phase).observe(seconds)


class Session:
    """An open connection, secured and logged in.

    Args:
        server: the server.
        deadline: on the monotonic clock, in seconds; everything up to the end of DATA finishes before it.
        watch: called with every successful step and its duration in seconds.

    Raises:
        Postponed: the connection or the login failed.
    """

    def __init__(self, server: Server, deadline: float, watch: Watch = count) -> None:
        self._server = server
        self._deadline = deadline
        self._watch = watch
        self.mails = 0
        self.used_at = time.monotonic()
        #: Whether a mail has been started and not finished.
        self._in_the_midst = False
        #: Whether the last mail failed because its commands were pipelined.
        self.mishandled_pipelining = False
        with tracing.span("smtp connect"):
            self._smtp = self._connect()
        self._open = True
        metrics.SMTP_CONNECTIONS.inc()
        try:
            self._ehlo()
            if server.security == "starttls":
                self._starttls()
            if server.username:
                self._login()
        except BaseException:
            self.drop()
            raise
        if self.tls:
            metrics.SMTP_CERTIFICATE.set(self.tls[1].timestamp())

    def send(self, sender: str, recipient: str, message: bytes, deadline: float) -> Reply:
        """Send one mail.

        Args:
            sender: an ASCII address.
            recipient: address with an ASCII domain. A local part outside ASCII needs SMTPUTF8 (RFC 6531).
            message: with CRLF line ends.
            deadline: as in `Session`.

        Returns:
            The accepting reply.

        Raises:
            DeliveryError: the mail was not accepted, or its outcome is uncertain.
        """
        self._deadline = deadline
        self._in_the_midst = True
        # A server with a limit can refuse before it has read everything (RFC 1870).
        size = f" SIZE={len(message)}" if self._smtp.has_extn("size") else ""
        self._commands(
            (Phase.MAIL, f"MAIL FROM:<{sender}>{size}{self._international(sender, recipient)}"),
            (Phase.RCPT, f"RCPT TO:<{recipient}>"),
            (Phase.DATA, "DATA"),
        )
        with self._phase(Phase.DATA):
            # RFC 5321, 4.5.2: a line that starts with a dot gets another.
            self._smtp.send(re.sub(rb"^\.", b"..", message, flags=re.MULTILINE) + b".\r\n")
        with tracing.span("smtp after-data"):
            reply = self._verdict()
        self._in_the_midst = False
        self.mails += 1
        self.used_at = time.monotonic()
        return reply

    def check_recipient(self, sender: str, recipient: str) -> None:
        """Check whether the server would accept a mail, without sending one.

        Raises:
            DeliveryError: the server would refuse it.
        """
        international = self._international(sender, recipient)
        self._commands(
            (Phase.MAIL, f"MAIL FROM:<{sender}>{international}"), (Phase.RCPT, f"RCPT TO:<{recipient}>")
        )
        self.responds()

    def _international(self, sender: str, recipient: str) -> str:
        """Return the MAIL parameters for a non-ASCII address.

        Raises:
            PermanentFailure: the server does not support them.
        """
        if (sender + recipient).isascii():
            return ""
        if not self._smtp.has_extn("smtputf8"):
            reply = f"{self._server.address} does not offer SMTPUTF8, which the address {recipient} requires"
            raise smtp_error(PermanentFailure, Phase.MAIL, None, reply)
        return " SMTPUTF8 BODY=8BITMIME"

    @property
    def tls(self) -> tuple[str, datetime] | None:
        """Return the version of TLS, and when the server's certificate expires; None without TLS."""
        sock = self._smtp.sock
        if not isinstance(sock, ssl.SSLSocket):
            return None
        certificate = sock.getpeercert() or {}
        expiry = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        return str(sock.version()), datetime.fromtimestamp(expiry, UTC)

    def can_send(self, trusted: float) -> bool:
        """Return whether the connection can send another mail. Checks with RSET only after it was idle.

        Args:
            trusted: seconds after a mail without a check.
        """
        in_use = not self._in_the_midst and time.monotonic() - self.used_at < trusted
        return in_use or self.responds()

    def responds(self) -> bool:
        """Send RSET, to check that the server responds and to end an open transaction."""
        try:
            self._limit(_RSET_AND_QUIT_TIMEOUT_SECONDS)
            self._in_the_midst = self._smtp.rset()[0] != 250
        except OSError:
            return False
        return not self._in_the_midst

    def close(self, timeout_seconds: float = _RSET_AND_QUIT_TIMEOUT_SECONDS) -> None:
        """Send QUIT, and wait for the reply for at most `timeout_seconds`. A failure now affects no mail."""
        with suppress(OSError):
            self._limit(timeout_seconds)
            self._smtp.quit()
        self.drop()

    def drop(self) -> None:
        """Close the socket without QUIT."""
        self._smtp.close()
        if self._open:
            self._open = False
            metrics.SMTP_CONNECTIONS.dec()

    def _connect(self) -> Connection:
        timeout = self._time_for(Phase.CONNECT)
        started = time.monotonic()
        smtp = Connection(self._server)
        try:
            smtp.open(timeout)
        except smtplib.SMTPConnectError as error:
            raise failure(Phase.GREETING, Reply.of(error.smtp_code, error.smtp_error)) from error
        except (OSError, UnicodeError) as error:  # UnicodeError for an invalid host name
            phase = Phase.GREETING if smtp.connected else Phase.CONNECT
            advice = misconfigured(self._server, error, connected=smtp.connected)
            raise smtp_error(Postponed, phase, None, self._words(error), advice) from error
        self._watch(Phase.CONNECT, time.monotonic() - started)
        return smtp

    def _ehlo(self) -> None:
        with self._phase(Phase.EHLO):
            reply = Reply.of(*self._smtp.ehlo())
        if reply.code != 250:
            raise failure(Phase.EHLO, reply)

    def _starttls(self) -> None:
        if not self._smtp.has_extn("starttls"):
            # Never fall back to plaintext: an attacker could have removed the offer of STARTTLS.
            raise smtp_error(
                Postponed,
                Phase.STARTTLS,
                None,
                f"{self._server.address} does not offer STARTTLS",
                "check SMTP_PORT and SMTP_SECURITY",
            )
        with self._phase(Phase.STARTTLS):
            self._smtp.starttls(context=self._server.tls)
        self._ehlo()

    def _login(self) -> None:
        with self._phase(Phase.AUTH):
            log_in(self._server, self._smtp.esmtp_features.get("auth", "").split(), self._smtp.docmd)

    def _commands(self, *commands: tuple[Phase, str]) -> None:
        """Send commands, with PIPELINING if the server offers it: one round trip instead of three (RFC
        2920)."""
        if not (self._smtp.has_extn("pipelining") and self._server.learned.pipelining):
            for phase, line in commands:
                self._command(phase, partial(self._smtp.docmd, line))
            return
        if not all(line.isprintable() for _, line in commands):
            raise ValueError("an SMTP command must have only printable characters")
        self._together("".join(f"{line}\r\n" for _, line in commands), [phase for phase, _ in commands])

    def _together(self, lines: str, phases: list[Phase]) -> None:
        """Send several commands together, then read the reply to each."""

        def first() -> tuple[int, bytes]:
            self._smtp.send(lines)
            return self._smtp.getreply()

        refused: DeliveryError | None = None
        for phase in phases:
            try:
                self._command(phase, first if phase is phases[0] else self._smtp.getreply)
            except DeliveryError as refusal:
                # The first refusal is reported. The other replies must be read too, or they would be taken
                # for replies to the next mail.
                refused = refused or refusal
                if phase is not phases[0] and _has_timed_out(refusal):
                    self._blame_pipelining(refusal)
                if is_connection_lost(refusal):
                    self.drop()
                    break
            else:
                if refused and phase is Phase.DATA:
                    # The server expects a mail without recipients. Its reply does not matter.
                    with suppress(DeliveryError):
                        self._command(Phase.AFTER_DATA, lambda: self._smtp.docmd("."))
        if refused:
            raise refused

    def _blame_pipelining(self, failed: DeliveryError) -> None:
        """Stop PIPELINING with this server, because it replied only to the first of several commands."""
        self._server.learned.pipelining = False
        self.mishandled_pipelining = True
        log.warning(
            "the mail server mishandles PIPELINING: commands are sent one at a time", reason=str(failed)
        )

    def _command(self, phase: Phase, check_recipient: Callable[[], tuple[int, bytes]]) -> None:
        with tracing.span(f"smtp {phase}"), self._timed(phase):
            reply = Reply.of(*check_recipient())
            tracing.annotate({"smtp.reply_code": reply.code})
            if reply.code // 100 != (3 if phase is Phase.DATA else 2):
                raise failure(phase, reply)

    def _verdict(self) -> Reply:
        """Read the reply to the end of DATA. Without a reply, the outcome is uncertain."""
        self._limit(self._server.longest_after_data)
        started = time.monotonic()
        try:
            reply = Reply.of(*self._smtp.getreply())
            self._watch(Phase.AFTER_DATA, time.monotonic() - started)
        except OSError as error:
            raise smtp_error(Uncertain, Phase.AFTER_DATA, None, self._words(error)) from error
        if reply.code // 100 != 2:
            raise failure(Phase.AFTER_DATA, reply)
        return reply

    @contextmanager
    def _phase(self, phase: Phase) -> Iterator[None]:
        """Run one command with its timeout in a span, and turn failures into delivery errors."""
        with tracing.span(f"smtp {phase}"), self._timed(phase):
            yield

    @contextmanager
    def _timed(self, phase: Phase) -> Iterator[None]:
        self._limit(self._time_for(phase))
        started = time.monotonic()
        try:
            yield
            self._watch(phase, time.monotonic() - started)
        except OSError as error:
            raise self._failed(phase, error) from error

    def _time_for(self, phase: Phase) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise smtp_error(
                Postponed, phase, None, f"{self._server.address} exceeded the time limit for a message"
            )
        return min(self._server.timeout, left)

    def _limit(self, seconds: float) -> None:
        if self._smtp.sock:
            self._smtp.sock.settimeout(seconds)

    def _failed(self, phase: Phase, error: Exception) -> DeliveryError:
        return smtp_error(Postponed, phase, None, self._words(error))

    def _words(self, error: Exception) -> str:
        where = self._server.address
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"{where}: certificate not trusted: {error.verify_message} "
                "(for a private CA, set SMTP_CA_FILE)"
            )
        return one_line(f"{where}: {error or type(error).__name__}", 300)


def _has_timed_out(error: DeliveryError) -> bool:
    """Return whether no reply arrived in time. The timeout is the context of smtplib's own error."""
    cause = error.__cause__
    return isinstance(cause, TimeoutError) or isinstance(cause and cause.__context__, TimeoutError)

"""One connection to an SMTP server. Each command has a timeout, a phase, and errors of ours."""

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
from actors.channels.email.errors import connection_lost, smtp_error
from actors.channels.email.login import log_in
from actors.channels.email.replies import Phase, Reply, failure
from actors.errors import DeliveryError, PermanentFailure, Postponed, Uncertain
from app.telemetry import metrics, tracing
from app.telemetry.logs import get_logger
from app.text import one_line

if TYPE_CHECKING:
    from actors.channels.email.server import Server

log = get_logger(__name__)

#: Seconds for what is only polite: asking a kept connection if it lives, saying goodbye.
_RSET_AND_QUIT_TIMEOUT_SECONDS = 5.0

#: Told of a step and the seconds it took.
Watch = Callable[[Phase, float], None]


def count(phase: Phase, seconds: float) -> None:
    """Observe the duration of a step in the metrics: the default `Watch`."""
    metrics.SMTP.labels(phase).observe(seconds)


class Session:
    """An open connection, secured and logged in.

    Args:
        server: where to.
        deadline: on the monotonic clock, in seconds; nothing before the end of DATA runs past it.
        watch: told of every step that succeeded, and of the seconds it took.

    Raises:
        Postponed: it could not be opened, or the login was refused.
    """

    def __init__(self, server: Server, deadline: float, watch: Watch = count) -> None:
        self._server = server
        self._deadline = deadline
        self._watch = watch
        self.mails = 0
        self.used_at = time.monotonic()
        #: Whether a mail was begun and not ended.
        self._in_the_midst = False
        #: Whether the last mail failed for the way its commands were sent.
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
            sender: ASCII address.
            recipient: its domain in ASCII. A local part outside ASCII needs SMTPUTF8 (RFC 6531).
            message: with CRLF line ends.
            deadline: as for the session.

        Returns:
            The reply that accepts it.

        Raises:
            DeliveryError: it was not accepted, or nobody knows.
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

    def ask(self, sender: str, recipient: str) -> None:
        """Check whether the server would accept a mail, without sending one.

        Raises:
            DeliveryError: it would not.
        """
        international = self._international(sender, recipient)
        self._commands(
            (Phase.MAIL, f"MAIL FROM:<{sender}>{international}"), (Phase.RCPT, f"RCPT TO:<{recipient}>")
        )
        self.alive()

    def _international(self, sender: str, recipient: str) -> str:
        """The parameters of MAIL that an address outside ASCII needs.

        Raises:
            PermanentFailure: the server does not offer them.
        """
        if (sender + recipient).isascii():
            return ""
        if not self._smtp.has_extn("smtputf8"):
            reply = f"{self._server.address} does not offer SMTPUTF8, which the address {recipient} needs"
            raise smtp_error(PermanentFailure, Phase.MAIL, None, reply)
        return " SMTPUTF8 BODY=8BITMIME"

    @property
    def tls(self) -> tuple[str, datetime] | None:
        """The version of TLS, and when the server's certificate expires; None without TLS."""
        sock = self._smtp.sock
        if not isinstance(sock, ssl.SSLSocket):
            return None
        certificate = sock.getpeercert() or {}
        expiry = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        return str(sock.version()), datetime.fromtimestamp(expiry, UTC)

    def ready(self, trusted: float) -> bool:
        """Whether the connection can send another mail. Checks with RSET only after it was idle.

        Args:
            trusted: seconds after a mail in which the server is taken to listen still.
        """
        in_use = not self._in_the_midst and time.monotonic() - self.used_at < trusted
        return in_use or self.alive()

    def alive(self) -> bool:
        """Send RSET: check that the server responds, and end a transaction that an earlier mail left open."""
        try:
            self._limit(_RSET_AND_QUIT_TIMEOUT_SECONDS)
            self._in_the_midst = self._smtp.rset()[0] != 250
        except OSError:
            return False
        return not self._in_the_midst

    def close(self, patience: float = _RSET_AND_QUIT_TIMEOUT_SECONDS) -> None:
        """Send QUIT, and wait for at most `patience` seconds. A failure now affects no mail."""
        with suppress(OSError):
            self._limit(patience)
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
        except (OSError, UnicodeError) as error:  # the latter for a host name that can't be one
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
            # Never in the clear instead: whoever sits between could have taken the offer out.
            raise smtp_error(
                Postponed, Phase.STARTTLS, None, f"{self._server.address} does not offer STARTTLS"
            )
        with self._phase(Phase.STARTTLS):
            self._smtp.starttls(context=self._server.tls)
        self._ehlo()

    def _login(self) -> None:
        with self._phase(Phase.AUTH):
            log_in(self._server, self._smtp.esmtp_features.get("auth", "").split(), self._smtp.docmd)

    def _commands(self, *commands: tuple[Phase, str]) -> None:
        """Give commands, in one go where the server offers it: a round trip in place of three (RFC 2920)."""
        if not (self._smtp.has_extn("pipelining") and self._server.learned.pipelining):
            for phase, line in commands:
                self._command(phase, partial(self._smtp.docmd, line))
            return
        if not all(line.isprintable() for _, line in commands):
            raise ValueError("a line break in an SMTP command")
        self._together("".join(f"{line}\r\n" for _, line in commands), [phase for phase, _ in commands])

    def _together(self, lines: str, phases: list[Phase]) -> None:
        """Send the lines of several commands, then hear the reply to each."""

        def first() -> tuple[int, bytes]:
            self._smtp.send(lines)
            return self._smtp.getreply()

        refused: DeliveryError | None = None
        for phase in phases:
            try:
                self._command(phase, first if phase is phases[0] else self._smtp.getreply)
            except DeliveryError as refusal:
                # The first one says why; the replies that follow must be read, or they answer the next mail.
                refused = refused or refusal
                if phase is not phases[0] and _timed_out(refusal):
                    self._blame_pipelining(refusal)
                if connection_lost(refusal):
                    self.drop()
                    break
            else:
                if refused and phase is Phase.DATA:
                    # It waits for a mail to nobody. What it says to the end of it changes nothing.
                    with suppress(DeliveryError):
                        self._command(Phase.AFTER_DATA, lambda: self._smtp.docmd("."))
        if refused:
            raise refused

    def _blame_pipelining(self, failed: DeliveryError) -> None:
        """Send this server one command at a time from now on: it replied to the first of several only."""
        self._server.learned.pipelining = False
        self.mishandled_pipelining = True
        log.warning(
            "the mail server mishandles PIPELINING: commands are sent one at a time", reason=str(failed)
        )

    def _command(self, phase: Phase, ask: Callable[[], tuple[int, bytes]]) -> None:
        with tracing.span(f"smtp {phase}"), self._timed(phase):
            reply = Reply.of(*ask())
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
        """Run one command with its timeout, in a span, and turn its failure into ours."""
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
            raise smtp_error(Postponed, phase, None, f"{self._server.address} is too slow: out of time")
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
                f"{where}: certificate not trusted: {error.verify_message} (SMTP_CA_FILE names a private CA)"
            )
        return one_line(f"{where}: {error or type(error).__name__}", 300)


def _timed_out(error: DeliveryError) -> bool:
    """Whether no reply came in time. smtplib raises an error of its own, in whose context the timeout is."""
    cause = error.__cause__
    return isinstance(cause, TimeoutError) or isinstance(cause and cause.__context__, TimeoutError)

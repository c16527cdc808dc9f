"""Send mail over reused connections, to a mail server and to its fallback.

Flask-Mail's `Connection` is not used: it requires a Flask app's context and settings, verifies no
certificate, has no timeouts, logs in for each `send`, and raises if QUIT fails after an accepted mail, which
would then be sent again. Without all of that, only smtplib is left.
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import Future
from contextvars import copy_context
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from actors.channels.email.errors import is_connection_lost
from actors.channels.email.replies import Phase, Reply
from actors.channels.email.server import Server
from actors.channels.email.session import Session
from actors.circuit import QUICK_SECONDS, SLOW_CONNECTIONS, Circuit, ConnectionLimit
from actors.errors import DeliveryError, OutOfTurn, Postponed, Uncertain
from app.clock import utcnow
from app.operations.mail_servers import MailServers
from app.telemetry import metrics, tracing

if TYPE_CHECKING:
    from actors.channels.email.compose import OutgoingMail
    from app.settings import Settings

#: Reply codes with their own metric label: https://www.iana.org/assignments/smtp-enhanced-status-codes
_CODES = frozenset(
    {"421", "432", "450", "451", "452", "454", "500", "501", "502", "503", "504", "521", "523", "530", "534"}
    | {"535", "538", "541", "550", "551", "552", "553", "554", "555", "556"}
)

#: Seconds for QUIT on all kept connections together.
_QUIT_SECONDS = 3.0

#: A reply at these steps means that the login was accepted.
_PHASES_AFTER_LOGIN = (Phase.RCPT, Phase.DATA, Phase.AFTER_DATA)


class Transport:
    """Sends mails to one server. One instance serves all threads of a process, before and after a fork.

    Args:
        server: the server.
        connect_wait_seconds: maximum time to wait for a new connection, which stays available to the next
            mail; None for no limit.
        max_mails: maximum number of mails over one connection; servers have such limits.
        max_idle_seconds: time until an idle connection is renewed.
        unchecked_seconds: time for which an idle connection is used without a check. If it fails, the mail
            uses a new one.
        circuit: holds mails while the server is failing.
        reports: receives the server's state, for operators.
    """

    def __init__(
        self,
        server: Server,
        *,
        connect_wait_seconds: float | None = QUICK_SECONDS,
        max_mails: int = 100,
        max_idle_seconds: float = 60.0,
        unchecked_seconds: float = 5.0,
        circuit: Circuit | None = None,
        reports: MailServers | None = None,
    ) -> None:
        self._server = server
        self._connect_wait_seconds = (
            server.longest_to_data if connect_wait_seconds is None else connect_wait_seconds
        )
        self._max_mails = max_mails
        self._max_idle_seconds = max_idle_seconds
        self._unchecked_seconds = unchecked_seconds
        self._report = Report(reports, server) if reports else None
        self._circuit = circuit or Circuit(server.relay, watcher=self._report)
        self._limit = ConnectionLimit()
        self._pid = os.getpid()
        #: Idle connections, the most recently used last. List operations are atomic.
        self._kept: list[Session] = []

    @property
    def is_quick(self) -> bool:
        """Return whether a mail is likely to be accepted within `QUICK_SECONDS`."""
        return self._circuit.is_quick

    @property
    def relay(self) -> str:
        """`primary` or `fallback`."""
        return self._server.relay

    @property
    def longest(self) -> timedelta:
        """Return the longest duration of one `send`."""
        return timedelta(seconds=self._server.longest_to_data + self._server.longest_after_data)

    def send(self, mail: OutgoingMail) -> Reply:
        """Send one mail.

        Returns:
            The accepting reply.

        Raises:
            DeliveryError: not accepted, or uncertain; has the phase and the reply.
            OutOfTurn: not attempted, because the circuit is open or no further connection is allowed.
        """
        message = mail.as_bytes()
        deadline = time.monotonic() + self._server.longest_to_data
        where: tracing.Attributes = {"server.address": self._server.host, "server.port": self._server.port}
        try:
            with tracing.span("smtp", where, kind="client"):
                return self._over_a_connection(mail, message, deadline)
        except DeliveryError as error:
            if error.phase:
                code = "none" if error.code is None else metrics.known(str(error.code), _CODES)
                metrics.SMTP_FAILURES.labels(error.phase, code).inc()
            raise

    def _over_a_connection(self, mail: OutgoingMail, message: bytes, deadline: float) -> Reply:
        """Send a mail over an idle connection or a new one."""
        self._circuit.check()
        max_connections = SLOW_CONNECTIONS if self._circuit.is_slow_to_accept else None
        with self._limit.connection(self._connect_wait_seconds, max_connections):
            kept = self._take()
            if kept is not None:
                try:
                    return self._send(kept, mail, message, deadline, probe=False)
                except Postponed as error:
                    # A server may close an idle connection at any time, so this mail was certainly not
                    # accepted.
                    if not is_connection_lost(error):
                        raise
            pipelining = self._server.learned.pipelining
            try:
                return self._over_a_new_connection(mail, message, deadline)
            except Postponed:
                if pipelining is self._server.learned.pipelining:
                    raise
            # The server mishandles pipelining, so it gets one command at a time from now on.
            return self._over_a_new_connection(mail, message, deadline)

    def _over_a_new_connection(self, mail: OutgoingMail, message: bytes, deadline: float) -> Reply:
        probe = self._circuit.enter(self._connect_wait_seconds)
        kept_for_later = False
        try:
            future = self._start_to_open(deadline)
            try:
                session = future.result(self._connect_wait_seconds)
            except TimeoutError:
                kept_for_later = True
                self._circuit.record_late()
                future.add_done_callback(partial(self._keep_late, probe=probe))
                raise OutOfTurn(f"the connection to {self._server.address} is not open yet", 5.0) from None
            except Postponed as error:
                self._circuit.failed(error, probe=probe)
                raise
            return self._send(session, mail, message, deadline, probe=probe)
        finally:
            if probe and not kept_for_later:
                self._circuit.leave()

    def _start_to_open(self, deadline: float) -> Future[Session]:
        """Open a connection in a separate thread, so that no worker thread has to wait."""
        future: Future[Session] = Future()

        def open_session() -> None:
            started = time.monotonic()
            try:
                session = Session(self._server, deadline)
            except BaseException as error:
                future.set_exception(error)
            else:
                seconds = time.monotonic() - started
                self._circuit.connected(seconds, logged_in=bool(self._server.username))
                tls = session.tls
                future.set_result(session)
                if self._report and self._circuit.is_quick:
                    self._report.works(tls[1] if tls else None)

        run = partial(copy_context().run, open_session)
        threading.Thread(target=run, name="smtp connect", daemon=True).start()
        return future

    def _keep_late(self, future: Future[Session], *, probe: bool) -> None:
        """Keep a connection that opened too late for its mail, or record its failure."""
        error = future.exception()
        if error is None:
            self._kept.append(future.result())
            self._circuit.accepted()
        elif isinstance(error, Postponed):
            self._circuit.failed(error, probe=probe)
        if probe:
            self._circuit.leave()

    def close(self) -> None:
        """Send QUIT on every idle connection. A later `send` opens a new one."""
        self._forget_parents()
        give_up_at = time.monotonic() + _QUIT_SECONDS
        while self._kept:
            self._kept.pop().close(max(0.05, give_up_at - time.monotonic()))

    def _send(
        self, session: Session, mail: OutgoingMail, message: bytes, deadline: float, *, probe: bool
    ) -> Reply:
        started = time.monotonic()
        try:
            reply = session.send(mail.envelope_from, mail.envelope_to, message, deadline)
        except DeliveryError as error:
            if is_connection_lost(error):
                session.drop()
            else:
                self._kept.append(session)
            self._note(error, session, started, probe=probe)
            raise
        self._kept.append(session)
        self._circuit.accepted(time.monotonic() - started)
        return reply

    def _note(self, error: DeliveryError, session: Session, started: float, *, probe: bool) -> None:
        """Record a failed mail in the circuit and the connection limit."""
        if session.mishandled_pipelining:
            return
        seconds = time.monotonic() - started
        if error.code is None and not isinstance(error, Uncertain):
            # The connection was lost during this mail, perhaps because of it.
            self._circuit.record_duration(seconds)
        elif isinstance(error, Postponed) and error.server_wide:
            # The server closed an idle connection, so a new one is opened.
            if session.mails == 0 or not is_connection_lost(error):
                self._circuit.failed(error, probe=probe)
        elif isinstance(error, Uncertain) or error.phase in _PHASES_AFTER_LOGIN:
            self._circuit.accepted(seconds)

    def _take(self) -> Session | None:
        """Return an idle connection that works, or None."""
        self._forget_parents()
        while True:
            try:
                session = self._kept.pop()
            except IndexError:
                return None
            if (
                session.mails >= self._max_mails
                or time.monotonic() - session.used_at > self._max_idle_seconds
            ):
                session.close()
            elif session.can_send(self._unchecked_seconds):
                return session
            else:
                session.drop()

    def _forget_parents(self) -> None:
        """After a fork, forget the parent's connections without sending QUIT on them."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            while self._kept:
                self._kept.pop().drop()


class Report:
    """Reports on one server: see `app.operations.mail_servers`."""

    def __init__(self, reports: MailServers, server: Server) -> None:
        self._reports = reports
        self._server = server

    def works(self, certificate_until: datetime | None = None) -> None:
        """Report that the server accepts connections."""
        self._reports.works(self._server.relay, self._server.address, certificate_until)

    def in_trouble(self, reason: str, seconds: float) -> None:
        """Report that emails are held for at least the given seconds."""
        next_try_at = utcnow() + timedelta(seconds=seconds)
        self._reports.in_trouble(self._server.relay, self._server.address, reason, next_try_at)


class Relays:
    """The mail server, and a fallback for mails that the first server certainly did not accept.

    Args:
        settings: have the SMTP_* variables.
        connect_wait_seconds: as for `Transport`.
    """

    def __init__(self, settings: Settings, *, connect_wait_seconds: float | None = QUICK_SECONDS) -> None:
        self._reports = MailServers(settings)
        self._transports = [
            Transport(server, connect_wait_seconds=connect_wait_seconds, reports=self._reports)
            for server in Server.all(settings)
        ]

    @property
    def is_quick(self) -> bool:
        """Return whether one of the servers is likely to accept a mail quickly."""
        return any(transport.is_quick for transport in self._transports)

    @property
    def longest(self) -> timedelta:
        """Return the longest duration of one `send`."""
        return sum((transport.longest for transport in self._transports), timedelta())

    def send(self, mail: OutgoingMail) -> str:
        """Send one mail over the first server whose circuit is closed.

        Returns:
            The relay that accepted it: `primary` or `fallback`.

        Raises:
            DeliveryError: not accepted, or uncertain. The next server gets only mails that the first
            certainly did not accept because of a fault in the server or in our settings for it.
        """
        held: Postponed | None = None
        for transport in self._transports:
            try:
                transport.send(mail)
            except Postponed as error:
                held = held or error
            else:
                return transport.relay
        assert held  # noqa: S101 - for the type checker
        raise held

    def close(self) -> None:
        """Close every kept connection."""
        for transport in self._transports:
            transport.close()
        self._reports.close()

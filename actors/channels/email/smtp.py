"""The way to the SMTP server: connections that are kept, as many as there are threads that send.

Flask-Mail's `Connection` is not used: it wants an application context and a Flask app's settings, verifies
no certificate, knows no timeout, logs in anew for each `send`, and reports a failing QUIT after an accepted
mail, which would then be sent again. What is left of it after mending that is smtplib.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from actors.channels.email.errors import SmtpFailure, TemporaryFailure
from actors.channels.email.replies import Reply
from actors.channels.email.restraint import ConnectionLimit, LoginBreaker
from actors.channels.email.server import Server
from actors.channels.email.session import Session
from app.telemetry import metrics, tracing

if TYPE_CHECKING:
    from actors.channels.email.compose import OutgoingMail
    from app.settings import Settings

#: Replies that are counted by their code: https://www.iana.org/assignments/smtp-enhanced-status-codes
_CODES = frozenset(
    {"421", "432", "450", "451", "452", "454", "500", "501", "502", "503", "504", "521", "523", "530", "534"}
    | {"535", "538", "541", "550", "551", "552", "553", "554", "555", "556"}
)

#: Seconds for saying goodbye on all kept connections together.
_GOODBYES = 3.0


class Transport:
    """Sends mails. One for each process is enough, for all its threads, before and after a fork.

    Args:
        settings: the SMTP_* ones.
        max_mails: sent over one connection before it is renewed; servers have limits of their own.
        max_idle: seconds after which a kept connection is not asked if it lives but renewed.
        trusted: seconds in which it is not even asked. If it is gone, the mail goes over a new one.
        breaker: holds mails back while the login is refused.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        max_mails: int = 100,
        max_idle: float = 60.0,
        trusted: float = 5.0,
        breaker: LoginBreaker | None = None,
    ) -> None:
        self._server = Server.of(settings)
        self._max_mails = max_mails
        self._max_idle = max_idle
        self._trusted = trusted
        self._breaker = breaker or LoginBreaker()
        if not self._server.username:
            self._breaker.accepted()  # until the server says that it wants a login
        self._limit = ConnectionLimit()
        self._pid = os.getpid()
        #: Connections in nobody's use, the last used last. List operations are atomic.
        self._kept: list[Session] = []

    @property
    def longest(self) -> timedelta:
        """The longest that one `send` can take."""
        return timedelta(seconds=self._server.longest_to_data + self._server.longest_after_data)

    def send(self, mail: OutgoingMail) -> Reply:
        """Hand one mail to the server.

        Returns:
            The reply that accepts it.

        Raises:
            SmtpFailure: temporary, permanent, a refused login, or uncertain; with the phase and the reply.
            OutOfTurn: not tried, because the server refuses our login or wants fewer connections.
        """
        message = mail.as_bytes()
        deadline = time.monotonic() + self._server.longest_to_data
        where: tracing.Attributes = {"server.address": self._server.host, "server.port": self._server.port}
        try:
            with tracing.span("smtp", where, kind="client"):
                return self._over_a_connection(mail, message, deadline)
        except SmtpFailure as failure:
            code = "none" if failure.code is None else metrics.known(str(failure.code), _CODES)
            metrics.SMTP_FAILURES.labels(failure.phase, code).inc()
            raise

    def _over_a_connection(self, mail: OutgoingMail, message: bytes, deadline: float) -> Reply:
        """`send`, over a kept connection or a new one."""
        with self._limit.place(deadline):
            kept = self._take()
            if kept is not None:
                try:
                    return self._send(kept, mail, message, deadline)
                except TemporaryFailure as failure:
                    # A server may end a kept connection at any moment; this mail was surely not accepted.
                    if not failure.connection_lost:
                        raise
            with self._breaker.login(deadline):
                session = Session(self._server, deadline)
                if self._server.username:
                    self._breaker.accepted()
                return self._send(session, mail, message, deadline)

    def close(self) -> None:
        """Say goodbye on every kept connection. A later `send` opens anew."""
        self._forget_parents()
        give_up_at = time.monotonic() + _GOODBYES
        while self._kept:
            self._kept.pop().close(max(0.05, give_up_at - time.monotonic()))

    def _send(self, session: Session, mail: OutgoingMail, message: bytes, deadline: float) -> Reply:
        try:
            reply = session.send(mail.envelope_from, mail.envelope_to, message, deadline)
        except SmtpFailure as failure:
            if failure.connection_lost:
                session.drop()
            else:
                self._kept.append(session)
            raise
        self._kept.append(session)
        return reply

    def _take(self) -> Session | None:
        """A connection that is good for another mail."""
        self._forget_parents()
        while True:
            try:
                session = self._kept.pop()
            except IndexError:
                return None
            if session.mails >= self._max_mails or time.monotonic() - session.used_at > self._max_idle:
                session.close()
            elif session.ready(self._trusted):
                return session
            else:
                session.drop()

    def _forget_parents(self) -> None:
        """After a fork: leave the parent's connections to the parent, without a QUIT in its name."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            while self._kept:
                self._kept.pop().drop()

"""The way to the SMTP server: one kept connection for each thread.

Flask-Mail's `Connection` is not used: it wants an application context and a Flask app's settings, verifies
no certificate, knows no timeout, logs in anew for each `send`, and reports a failing QUIT after an accepted
mail, which would then be sent again. What is left of it after mending that is smtplib.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from actors.mail.errors import SmtpFailure, TemporaryFailure
from actors.mail.replies import Reply
from actors.mail.server import Server
from actors.mail.session import Session

if TYPE_CHECKING:
    from actors.mail.compose import OutgoingMail
    from app.settings import Settings

#: Seconds from the start to the end of DATA, connecting included. With the wait for the last reply it stays
#: below the lease of a delivery.
_LONGEST = 90.0


class Transport:
    """Sends mails. One for each process is enough, for all its threads, before and after a fork.

    Args:
        settings: the SMTP_* ones.
        max_mails: sent over one connection before it is renewed; servers have limits of their own.
        max_idle: seconds after which a kept connection is not asked if it lives but renewed.
    """

    def __init__(self, settings: Settings, *, max_mails: int = 100, max_idle: float = 60.0) -> None:
        self._server = Server.of(settings)
        self._max_mails = max_mails
        self._max_idle = max_idle
        self._pid = os.getpid()
        #: Thread → its connection, in nobody's use at the moment. Dict operations are atomic.
        self._kept: dict[int, Session] = {}

    def send(self, mail: OutgoingMail) -> Reply:
        """Hand one mail to the server.

        Returns:
            The reply that accepts it.

        Raises:
            SmtpFailure: temporary, permanent, a refused login, or uncertain; with the phase and the reply.
        """
        message = mail.as_bytes()
        deadline = time.monotonic() + _LONGEST
        kept = self._take()
        if kept is not None:
            try:
                return self._send(kept, mail, message, deadline)
            except TemporaryFailure as failure:
                # A server may end a kept connection at any moment, and this mail was surely not accepted.
                if not failure.connection_lost:
                    raise
        return self._send(Session(self._server, deadline), mail, message, deadline)

    def close(self) -> None:
        """Say goodbye on every thread's connection, once they send no more. A later `send` opens anew."""
        self._forget_parents()
        while self._kept:
            self._kept.popitem()[1].close()

    def _send(self, session: Session, mail: OutgoingMail, message: bytes, deadline: float) -> Reply:
        try:
            reply = session.send(mail.envelope_from, mail.envelope_to, message, deadline)
        except SmtpFailure as failure:
            if failure.connection_lost:
                session.drop()
            else:
                self._kept[threading.get_ident()] = session
            raise
        self._kept[threading.get_ident()] = session
        return reply

    def _take(self) -> Session | None:
        """This thread's connection, if it is good for another mail."""
        self._forget_parents()
        session = self._kept.pop(threading.get_ident(), None)
        if session is None:
            return None
        if session.mails >= self._max_mails or time.monotonic() - session.used_at > self._max_idle:
            session.close()
            return None
        if not session.alive():
            session.drop()
            return None
        return session

    def _forget_parents(self) -> None:
        """After a fork: leave the parent's connections to the parent, without a QUIT in its name."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            for session in self._kept.values():
                session.drop()
            self._kept.clear()

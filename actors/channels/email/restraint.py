"""When the server wants less of us: a login that it refuses, and connections that are too many.

Both hold for the whole process, all threads together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from actors.channels.email.errors import AuthenticationFailed, OutOfTurn, SmtpFailure, TooManyConnections
from actors.channels.email.replies import Phase
from app.telemetry.logs import get_logger

log = get_logger(__name__)

#: A server that comes this far has let us in; one that wants a login says so at MAIL at the latest.
_PAST_MAIL = (Phase.RCPT, Phase.DATA, Phase.AFTER_DATA)


class LoginBreaker:
    """Tries a login that was refused again at growing intervals, one thread at a time, and no mail meanwhile.

    Before the first login that succeeds there is one at a time too: eight threads with a wrong password would
    lock the account.

    Args:
        shortest: seconds from the first refusal to the next try; each further one doubles it.
        longest: seconds between two tries, at most.
    """

    def __init__(self, shortest: float = 30.0, longest: float = 600.0) -> None:
        self._shortest = shortest
        self._longest = longest
        self._changed = threading.Condition()
        self._let_in = False
        self._trying = False
        self._refusal: SmtpFailure | None = None
        self._interval = 0.0
        self._closed_until = 0.0

    @contextmanager
    def login(self, deadline: float) -> Iterator[None]:
        """Open a connection, log in and send a mail in this block; say `accepted` as soon as that is clear.

        Args:
            deadline: on the monotonic clock, in seconds; the end of waiting for another thread's try.

        Raises:
            OutOfTurn: not now; nothing was tried.
        """
        alone = self._enter(deadline)
        try:
            yield
        except AuthenticationFailed as failure:
            self._refused(failure, alone)
            raise
        except SmtpFailure as failure:
            if failure.phase in _PAST_MAIL:
                self.accepted()
            raise
        else:
            self.accepted()
        finally:
            if alone:
                with self._changed:
                    self._trying = False
                    self._changed.notify_all()

    def _enter(self, deadline: float) -> bool:
        """Wait for permission; whether it is to a try on which the others wait."""
        with self._changed:
            in_time = self._changed.wait_for(
                lambda: self._let_in or self._wait() > 0 or not self._trying, deadline - time.monotonic()
            )
            if self._let_in:
                return False
            if not in_time or self._wait() > 0:
                raise OutOfTurn(f"not tried: {self._refusal or 'no login yet'}", max(1.0, self._wait()))
            self._trying = True
            return True

    def _wait(self) -> float:
        return self._closed_until - time.monotonic()

    def _refused(self, failure: AuthenticationFailed, alone: bool) -> None:
        with self._changed:
            if alone or self._let_in:
                self._interval = min(self._longest, self._interval * 2 or self._shortest)
                self._closed_until = time.monotonic() + self._interval
                self._let_in = False
                self._refusal = failure
                log.error(
                    "the mail server refuses our login: mails are kept, none is sent until this is mended",
                    reason=str(failure),
                    next_try_in_seconds=self._interval,
                )
            failure.seconds = max(1.0, self._wait())

    def accepted(self) -> None:
        """The server has let us in; all threads may go on."""
        with self._changed:
            if self._refusal:
                log.info("the mail server accepts our login again")
            self._let_in, self._refusal, self._interval = True, None, 0.0
            self._changed.notify_all()


class ConnectionLimit:
    """How many connections may be in use at once: any number, until the server says that it wants fewer.

    Args:
        relief: seconds after which the server is asked for more again.
    """

    def __init__(self, relief: float = 600.0) -> None:
        self._relief = relief
        self._changed = threading.Condition()
        self._used = 0
        self._most: int | None = None
        self._limited_until = 0.0

    @contextmanager
    def place(self, deadline: float) -> Iterator[None]:
        """Use a connection in this block.

        Args:
            deadline: on the monotonic clock, in seconds; the end of waiting for a place.

        Raises:
            OutOfTurn: none became free.
        """
        with self._changed:
            if not self._changed.wait_for(self._free, deadline - time.monotonic()):
                raise OutOfTurn(f"the server allows {self._most} connections at once", 5.0)
            self._used += 1
        try:
            yield
        except TooManyConnections as failure:
            self._lower(failure)
            raise
        finally:
            with self._changed:
                self._used -= 1
                self._changed.notify()

    def _free(self) -> bool:
        if self._most is not None and time.monotonic() > self._limited_until:
            self._most = None
        return self._most is None or self._used < self._most

    def _lower(self, failure: TooManyConnections) -> None:
        with self._changed:
            # The others were accepted, or will say so themselves.
            most = max(1, self._used - 1)
            if self._most is None or most < self._most:
                self._most = most
                log.warning("fewer connections to the mail server", most=most, reason=str(failure))
            self._limited_until = time.monotonic() + self._relief

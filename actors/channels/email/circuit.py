"""The circuit breaker of a mail server, and the limit of connections to it, for all threads of a process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from actors.channels.email.errors import AuthenticationFailed, OutOfTurn, TooManyConnections
from actors.errors import Postponed
from app.telemetry import metrics
from app.telemetry.logs import get_logger

log = get_logger(__name__)

#: A server that takes longer to open a connection, or for one mail, is slow.
QUICK_SECONDS = 2.0

#: Connections in use at once while the server takes long for each mail. The other threads do other work.
SLOW_CONNECTIONS = 4

#: Seconds from the first failure to the next attempt, and at most between two. Each further one doubles it.
_INTERVALS = (5.0, 60.0)

#: The same for a refused login: servers lock accounts.
_LOGIN_INTERVALS = (30.0, 600.0)


class Circuit:
    """Opens when a mail server is in trouble: nothing is sent until one connection has shown that it works.

    It starts neither open nor closed: before the first success there is one connection at a time too. Eight
    threads with a wrong password would lock the account.

    Args:
        relay: the server's name in logs and metrics.
        intervals: seconds from the first failure to the next attempt, and at most between two.
        login_intervals: the same after a refused login.
    """

    def __init__(
        self,
        relay: str = "primary",
        intervals: tuple[float, float] = _INTERVALS,
        login_intervals: tuple[float, float] = _LOGIN_INTERVALS,
    ) -> None:
        self._relay = relay
        self._intervals = intervals
        self._login_intervals = login_intervals
        self._changed = threading.Condition()
        self._proven = False
        self._probing = False
        self._slow_to_connect = False
        self._slow_to_accept = False
        self._failure: Postponed | None = None
        self._interval = 0.0
        self._open_until = 0.0

    @property
    def quick(self) -> bool:
        """Whether a mail is likely to be accepted within `QUICK_SECONDS`."""
        return self._failure is None and not self._slow_to_connect and not self._slow_to_accept

    @property
    def slow_to_accept(self) -> bool:
        """Whether the last mail took longer than `QUICK_SECONDS`."""
        return self._slow_to_accept

    def check(self) -> None:
        """Raise `OutOfTurn` while nothing is to be sent."""
        left = self._open_until - time.monotonic()
        if self._failure and left > 0:
            raise OutOfTurn(f"not tried: {self._failure}", max(1.0, left))

    def enter(self, patience: float) -> bool:
        """Ask for permission to open a connection.

        Args:
            patience: seconds to wait for the outcome of the first connection of this process.

        Returns:
            Whether the connection is a probe: no other is opened until `leave`.

        Raises:
            OutOfTurn: not now.
        """
        with self._changed:
            if self._is_untested():
                self._changed.wait_for(lambda: not self._is_untested() or not self._probing, patience)
            self.check()
            if self._proven and not self._slow_to_connect:
                return False
            if self._probing:
                reason = self._failure or "no connection has been opened yet"
                raise OutOfTurn(f"not tried, another mail probes the server: {reason}", 2.0)
            self._probing = True
            return True

    def _is_untested(self) -> bool:
        return not self._proven and self._failure is None and not self._slow_to_connect

    def leave(self) -> None:
        """End a probe."""
        with self._changed:
            self._probing = False
            self._changed.notify_all()

    def connected(self, seconds: float, *, logged_in: bool) -> None:
        """Note that a connection is open.

        Args:
            seconds: that it took.
            logged_in: the server knows us. One without a login may still ask for it at MAIL.
        """
        with self._changed:
            self._slow_to_connect = seconds > QUICK_SECONDS
            works = logged_in or self._failure is None
        if works:
            self.accepted()

    def is_late(self) -> None:
        """Note that a connection is still being opened after `QUICK_SECONDS`."""
        with self._changed:
            if not self._slow_to_connect:
                log.warning("the mail server is slow: mails go through their queue", relay=self._relay)
            self._slow_to_connect = True
            self._changed.notify_all()

    def accepted(self, seconds: float | None = None) -> None:
        """Note that the server works.

        Args:
            seconds: that one mail took, if one was accepted.
        """
        with self._changed:
            if self._failure:
                log.info("the mail server works again", relay=self._relay)
            self._proven, self._failure, self._interval = True, None, 0.0
            if seconds is not None:
                self._slow_to_accept = seconds > QUICK_SECONDS
            metrics.SMTP_CIRCUIT.labels(self._relay).set(0)
            self._changed.notify_all()

    def took(self, seconds: float) -> None:
        """Note that a mail took so long, whatever came of it."""
        with self._changed:
            self._slow_to_accept = seconds > QUICK_SECONDS

    def failed(self, failure: Postponed, *, probe: bool) -> None:
        """Note that the server, or our settings, are in trouble. Sets `failure.seconds`.

        Args:
            failure: what happened.
            probe: it happened to the one connection that was allowed.
        """
        with self._changed:
            if probe or self._failure is None:
                login = isinstance(failure, AuthenticationFailed)
                shortest, longest = self._login_intervals if login else self._intervals
                self._interval = min(longest, self._interval * 2 or shortest)
                self._open_until = time.monotonic() + self._interval
                self._proven = False
                self._failure = failure
                log.error(
                    "the mail server refuses our login: mails are held until the settings are right"
                    if login
                    else "the mail server is in trouble: mails are held until it works",
                    relay=self._relay,
                    reason=str(failure),
                    next_try_in_seconds=self._interval,
                )
            failure.seconds = max(1.0, self._open_until - time.monotonic())
            metrics.SMTP_CIRCUIT.labels(self._relay).set(1)
            self._changed.notify_all()


class ConnectionLimit:
    """How many connections may be in use at once: any number, until the server says that it allows fewer.

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
    def place(self, patience: float, most: int | None = None) -> Iterator[None]:
        """Use a connection in this block.

        Args:
            patience: seconds to wait for a place.
            most: a further limit, for now.

        Raises:
            OutOfTurn: none became free.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(most), patience):
                raise OutOfTurn("not tried: as many connections as the server allows are in use", 5.0)
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

    def _is_free(self, most: int | None) -> bool:
        if self._most is not None and time.monotonic() > self._limited_until:
            self._most = None
        return all(limit is None or self._used < limit for limit in (most, self._most))

    def _lower(self, failure: TooManyConnections) -> None:
        with self._changed:
            # The others were accepted, or will say so themselves.
            most = max(1, self._used - 1)
            if self._most is None or most < self._most:
                self._most = most
                log.warning("fewer connections to the mail server", most=most, reason=str(failure))
            self._limited_until = time.monotonic() + self._relief

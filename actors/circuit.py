"""The circuit breaker of a server that takes messages, and the limit of connections to it, for all threads of
a process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Gauge

from actors.errors import OutOfTurn, Postponed, TooManyConnections
from app.telemetry import metrics
from app.telemetry.logs import get_logger

log = get_logger(__name__)

#: A server counts as slow if it takes longer to open a connection, or for one message.
QUICK_SECONDS = 2.0

#: Maximum number of connections to a slow server, so that other threads can do other work.
SLOW_CONNECTIONS = 4

#: Seconds from the first failure to the next attempt, and the maximum. Each failure doubles the interval.
_INTERVALS_SECONDS = (5.0, 60.0)

#: The same for a refused login, because servers lock accounts.
_LOGIN_INTERVALS_SECONDS = (30.0, 600.0)


@dataclass(frozen=True)
class LogMessages:
    """Log messages about one kind of server, as literals that a search for a logged line finds."""

    slow: str
    failing: str
    login_refused: str
    works_again: str
    fewer_connections: str


MAIL_SERVER = LogMessages(
    slow="the mail server is slow: emails are queued",
    failing="the mail server is failing: emails are held until it works",
    login_refused="the mail server refuses our login: emails are held until the settings are corrected",
    works_again="the mail server works again",
    fewer_connections="fewer connections to the mail server",
)

SMS_PROVIDER = LogMessages(
    slow="the SMS provider is slow: SMS are queued",
    failing="the SMS provider is failing: SMS are held until it works",
    login_refused="the SMS provider refuses our login: SMS are held until the settings are corrected",
    works_again="the SMS provider works again",
    fewer_connections="fewer connections to the SMS provider",
)


class Watcher(Protocol):
    """Observer of a circuit, to publish its state. Its methods never raise."""

    def works(self) -> None:
        """Report that the server works again."""

    def in_trouble(self, reason: str, seconds: float) -> None:
        """Report that messages are held for at least the given seconds."""


class Circuit:
    """Circuit breaker: opens when a server fails, and closes when one connection works again.

    It starts half-open: before the first success, only one connection at a time is allowed. Otherwise, eight
    threads with a wrong password could lock the account.

    Args:
        relay: name of the server in logs and metrics.
        intervals: first and longest wait between attempts, in seconds.
        login_intervals: the same after a refused login.
        watcher: is called when the circuit opens, stays open, and closes.
        messages: what to log.
        is_open: gauge of open circuits; None for that of mail servers.
    """

    def __init__(
        self,
        relay: str = "primary",
        intervals: tuple[float, float] = _INTERVALS_SECONDS,
        login_intervals: tuple[float, float] = _LOGIN_INTERVALS_SECONDS,
        watcher: Watcher | None = None,
        *,
        messages: LogMessages = MAIL_SERVER,
        is_open: Gauge | None = None,
    ) -> None:
        self._relay = relay
        self._messages = messages
        self._is_open = is_open or metrics.SMTP_CIRCUIT.labels(relay)
        self._intervals = intervals
        self._login_intervals = login_intervals
        self._watcher = watcher
        self._changed = threading.Condition()
        self._proven = False
        self._probing = False
        self._slow_to_connect = False
        self._slow_to_accept = False
        self._failure: Postponed | None = None
        self._interval = 0.0
        self._open_until = 0.0

    @property
    def is_quick(self) -> bool:
        """Return whether a message is likely to be accepted within `QUICK_SECONDS`."""
        return self._failure is None and not self._slow_to_connect and not self._slow_to_accept

    @property
    def is_slow_to_accept(self) -> bool:
        """Return whether the last message took longer than `QUICK_SECONDS`."""
        return self._slow_to_accept

    def check(self) -> None:
        """Raise `OutOfTurn` while the circuit is open."""
        left = self._open_until - time.monotonic()
        if self._failure and left > 0:
            raise OutOfTurn(f"not tried: {self._failure}", max(1.0, left))

    def enter(self, wait_seconds: float) -> bool:
        """Request permission to open a connection.

        Args:
            wait_seconds: maximum time to wait for the outcome of the first connection of this process.

        Returns:
            Whether the connection is a probe: no other opens until `leave`.

        Raises:
            OutOfTurn: no connection may be opened now.
        """
        with self._changed:
            if self._is_untested():
                self._changed.wait_for(lambda: not self._is_untested() or not self._probing, wait_seconds)
            self.check()
            if self._proven and not self._slow_to_connect:
                return False
            if self._probing:
                cause = f" after this error: {self._failure}" if self._failure else ""
                raise OutOfTurn(f"not tried: another delivery is testing the server{cause}", 2.0)
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
        """Record an open connection.

        Args:
            seconds: time to open it.
            logged_in: whether the login succeeded. Without one, the server may still require it at MAIL.
        """
        with self._changed:
            self._slow_to_connect = seconds > QUICK_SECONDS
            works = logged_in or self._failure is None
        if works:
            self.accepted()

    def record_late(self) -> None:
        """Record that a connection is still being opened after `QUICK_SECONDS`."""
        with self._changed:
            if not self._slow_to_connect:
                log.warning(self._messages.slow, relay=self._relay)
            self._slow_to_connect = True
            self._changed.notify_all()

    def accepted(self, seconds: float | None = None) -> None:
        """Record that the server works.

        Args:
            seconds: duration of an accepted message, if any.
        """
        with self._changed:
            recovered = self._failure is not None
            if recovered:
                log.info(self._messages.works_again, relay=self._relay)
            self._proven, self._failure, self._interval = True, None, 0.0
            if seconds is not None:
                self._slow_to_accept = seconds > QUICK_SECONDS
            self._is_open.set(0)
            self._changed.notify_all()
        if recovered and self._watcher:
            self._watcher.works()

    def record_duration(self, seconds: float) -> None:
        """Record the duration of a message, whatever its outcome."""
        with self._changed:
            self._slow_to_accept = seconds > QUICK_SECONDS

    def failed(self, failure: Postponed, *, probe: bool) -> None:
        """Record a failure of the server or of our settings. Sets `failure.seconds`.

        Args:
            failure: what happened.
            probe: whether it happened to the probe.
        """
        opens = False
        with self._changed:
            if probe or self._failure is None:
                opens = True
                login = failure.refuses_login
                shortest, longest = self._login_intervals if login else self._intervals
                self._interval = min(longest, self._interval * 2 or shortest)
                self._open_until = time.monotonic() + self._interval
                self._proven = False
                self._failure = failure
                log.error(
                    self._messages.login_refused if login else self._messages.failing,
                    relay=self._relay,
                    reason=str(failure),
                    next_try_in_seconds=self._interval,
                )
            failure.seconds = max(1.0, self._open_until - time.monotonic())
            self._is_open.set(1)
            self._changed.notify_all()
        if opens and self._watcher:
            self._watcher.in_trouble(str(failure), failure.seconds)


class ConnectionLimit:
    """Limit of concurrent connections: none until the server refuses one.

    Args:
        messages: what to log.
        lift_after_seconds: time from the last refusal until the limit is lifted.
    """

    def __init__(self, messages: LogMessages = MAIL_SERVER, *, lift_after_seconds: float = 600.0) -> None:
        self._messages = messages
        self._lift_after_seconds = lift_after_seconds
        self._changed = threading.Condition()
        self._used = 0
        self._limit: int | None = None
        self._limited_until = 0.0

    @contextmanager
    def connection(self, wait_seconds: float, max_connections: int | None = None) -> Iterator[None]:
        """Use one of the allowed connections in this block.

        Args:
            wait_seconds: maximum time to wait for a free connection.
            max_connections: an additional limit for this call.

        Raises:
            OutOfTurn: no connection became free.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(max_connections), wait_seconds):
                raise OutOfTurn("not tried: all connections that the server allows are in use", 5.0)
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

    def _is_free(self, max_connections: int | None) -> bool:
        if self._limit is not None and time.monotonic() > self._limited_until:
            self._limit = None
        return all(limit is None or self._used < limit for limit in (max_connections, self._limit))

    def _lower(self, failure: TooManyConnections) -> None:
        with self._changed:
            # The other threads were accepted, or report their own failure.
            limit = max(1, self._used - 1)
            if self._limit is None or limit < self._limit:
                self._limit = limit
                log.warning(self._messages.fewer_connections, most=limit, reason=str(failure))
            self._limited_until = time.monotonic() + self._lift_after_seconds

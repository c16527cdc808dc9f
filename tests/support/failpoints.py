"""Processes that kill themselves between two steps that a test selects by number.

Every exchange with another server has two boundaries: just before the request is sent, and just after the
response is received. A process with failpoints counts them. If a number is armed, it sends itself SIGKILL
there. The project does not know about it: the failpoints use pymongo's command monitoring, and wrap the
methods with which urllib3, pika, and redis talk to their servers.

    python -m tests.support.failpoints api --bind 127.0.0.1:8003
    python -m tests.support.failpoints worker
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from app import clock

#: Hours by which the process's clock is ahead.
HOURS_AHEAD = "HOURS_AHEAD"

#: Variable with the directory through which a test and the process communicate.
DIRECTORY = "FAILPOINTS"

#: Names of background threads that serve no request.
_OWN = (
    "outbox-relay",
    "indexes",
    "payment recovery",
    "recovery_0",
    "bulk refunds",
    "bulk-refund-lease",
    "overdue deliveries",
    "reminders",
    "retention",
)


class Arming:
    """The test's side: selects the boundary at which the process is killed next."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._number = 0

    def arm(self, at: int, thread: str = "request", how: signal.Signals = signal.SIGKILL) -> None:
        """Make the process signal itself at boundary `at`, counted from now.

        Args:
            at: number of the boundary.
            thread: whose boundaries are counted: the requests', or those of a thread of that name.
            how: SIGKILL, or SIGSTOP to wait there for `let_go` or `kill`.
        """
        self._number += 1
        draft = self._directory / "draft"
        draft.write_text(f"{self._number} {at} {how.value} {thread}")
        draft.rename(self._directory / "armed")

    def fired(self) -> bool:
        """Return whether the process has reached the boundary."""
        return not (self._directory / "armed").exists()

    def disarm(self) -> bool:
        """Return whether the process has reached the boundary; if not, disarm it."""
        if self.fired():
            return True
        (self._directory / "armed").unlink()
        return False

    def last(self) -> str:
        """Return the name of the last boundary that the process reached."""
        return (self._directory / "fired").read_text().partition(" ")[2]

    def let_go(self) -> None:
        """Continue the stopped process."""
        self._signal_stopped(signal.SIGCONT)

    def kill(self) -> None:
        """Kill the stopped process."""
        self._signal_stopped(signal.SIGKILL)

    def _signal_stopped(self, signum: signal.Signals) -> None:
        # Imported here, because processes with failpoints are started often and need neither.
        import psutil

        from tests.support.wait import wait_for

        pid = int((self._directory / "fired").read_text().partition(" ")[0])
        process = psutil.Process(pid)
        # It reports before it stops, because one that is continued too early would stop forever.
        wait_for(lambda: process.status() == psutil.STATUS_STOPPED, 10, "it does not stop")
        process.send_signal(signum)


class Failpoints:
    """The process's side."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._number = ""
        self._count = 0

    def boundary(self, name: str) -> None:
        """Count one boundary. Kill or stop the process if it is the selected one."""
        if "createIndexes" in name:
            return  # once for each process, before anything else; existing indexes are kept
        with self._lock:
            try:
                number, at, how, thread = (self._directory / "armed").read_text().split(" ", 3)
            except FileNotFoundError:
                return
            own = threading.current_thread().name
            if (own if own in _OWN else "request") != thread:
                return
            if number != self._number:
                self._number, self._count = number, 0
            self._count += 1
            if self._count == int(at):
                (self._directory / "fired").write_text(f"{os.getpid()} {name}")
                (self._directory / "armed").unlink()
                # Sent to this thread: with a signal to the process, the thread could continue for a few
                # steps.
                signal.pthread_kill(threading.get_ident(), int(how))

    def around(self, owner: Any, method: str, name: Callable[..., str]) -> None:
        """Put a boundary before and after every call of a method."""
        original = getattr(owner, method)

        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            called = name(*args, **kwargs)
            self.boundary(f"before {called}")
            result = original(*args, **kwargs)
            self.boundary(f"after {called}")
            return result

        setattr(owner, method, wrapped)

    def install(self) -> None:
        """Count the calls of this process to MongoDB, the gateway, RabbitMQ, and Redis."""
        import pymongo.monitoring
        import redis
        import urllib3
        from pika.adapters.blocking_connection import BlockingChannel

        from app.messaging.confirms import ConfirmChannel

        boundary = self.boundary

        class Commands(pymongo.monitoring.CommandListener):
            def started(self, event: Any) -> None:
                boundary(f"before {self._name(event)}")

            def succeeded(self, event: Any) -> None:
                boundary(f"after {self._name(event)}")

            def failed(self, event: Any) -> None:
                boundary(f"after {self._name(event)}")

            @staticmethod
            def _name(event: Any) -> str:
                command = getattr(event, "command", {})
                return f"MongoDB {event.command_name} {command.get(event.command_name, '')}".strip()

        pymongo.monitoring.register(Commands())
        self.around(urllib3.HTTPConnectionPool, "urlopen", lambda _, method, *__, **___: f"gateway {method}")
        for channel, publish in ((BlockingChannel, "basic_publish"), (ConfirmChannel, "publish")):
            self.around(channel, publish, lambda *_, **__: "RabbitMQ publish")
        self.around(redis.Redis, "execute_command", lambda _, command, *__, **___: f"Redis {command}")


def install() -> None:
    """Install failpoints in this process, and move its clock. Call this before any import of the project."""
    Failpoints(Path(os.environ[DIRECTORY])).install()
    ahead = timedelta(hours=int(os.environ.get(HOURS_AHEAD, "0")))
    now = clock.utcnow
    clock.utcnow = lambda: now() + ahead


def main(arguments: list[str]) -> None:
    """Run gunicorn or Dramatiq on modules that install failpoints first."""
    kind, *rest = arguments
    if kind == "api":
        # Loaded once, and forked for each restart, because importing everything again takes seconds.
        command = ["gunicorn", "-c", "python:cli.gunicorn_conf", "--workers", "1", "--threads", "4"]
        command += ["--preload", *rest, "tests.support.failing_api:app"]
    else:
        command = ["dramatiq", "tests.support.failing_worker", "--skip-logging", "--processes", "1"]
        command += ["--threads", "2", *rest]
    with contextlib.suppress(KeyboardInterrupt):
        os.execv(sys.executable, [sys.executable, "-m", *command])  # noqa: S606 - no shell wanted


if __name__ == "__main__":
    main(sys.argv[1:])

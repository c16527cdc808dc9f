"""Processes that kill themselves, for real, between two steps that a test can name by number.

Every exchange with another server has two boundaries: just before the request goes out and just after the
answer came in. A process with failpoints counts them; armed with a number, it ends itself by SIGKILL there.
Nothing in the project knows of this: it hangs on pymongo's command monitoring and around the methods with
which urllib3, pika and redis talk to their servers.

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

#: Hours that the process's clock is ahead.
HOURS_AHEAD = "HOURS_AHEAD"

#: Names the directory in which a test and the process talk to each other.
DIRECTORY = "FAILPOINTS"

#: Threads that work for no request, by the name they have in the project.
_OWN = ("outbox-relay", "indexes", "payment recovery", "recovery_0", "overdue deliveries", "retention")


class Arming:
    """The test's side: at which boundary the process shall die next."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._number = 0

    def arm(self, at: int, thread: str = "request", how: signal.Signals = signal.SIGKILL) -> None:
        """Let the process signal itself at boundary `at`, counted from now.

        Args:
            at: number of the boundary.
            thread: whose boundaries are counted: the requests', or those of a thread of that name.
            how: SIGKILL, or SIGSTOP to wait there for `let_go`.
        """
        self._number += 1
        draft = self._directory / "draft"
        draft.write_text(f"{self._number} {at} {how.value} {thread}")
        draft.rename(self._directory / "armed")

    def fired(self) -> bool:
        """Whether the process has come there."""
        return not (self._directory / "armed").exists()

    def disarm(self) -> bool:
        """Whether the process has come there; if not, nothing will happen any more."""
        if self.fired():
            return True
        (self._directory / "armed").unlink()
        return False

    def last(self) -> str:
        """The name of the boundary to which the process came last."""
        return (self._directory / "fired").read_text().partition(" ")[2]

    def let_go(self) -> None:
        """Let the process go on that stopped there."""
        # Imported here: the processes with failpoints, which are started often, need neither.
        import psutil

        from tests.support.wait import wait_for

        pid = int((self._directory / "fired").read_text().partition(" ")[0])
        process = psutil.Process(pid)
        # It says so before it stops; one let go too early would stop for ever.
        wait_for(lambda: process.status() == psutil.STATUS_STOPPED, 10, "it does not stop")
        process.send_signal(signal.SIGCONT)


class Failpoints:
    """The process's side."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._number = ""
        self._count = 0

    def boundary(self, name: str) -> None:
        """Count one boundary; end or stop the process if it is the one."""
        if "createIndexes" in name:
            return  # once in a process's life, before all else, and what stands already stays
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
                # To this thread: sent to the process, it would leave the thread a few steps more.
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
        """Count what this process says to MongoDB, the gateway, RabbitMQ and Redis."""
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
    """Install them in this process, and move its clock; before anything of the project is imported."""
    Failpoints(Path(os.environ[DIRECTORY])).install()
    ahead = timedelta(hours=int(os.environ.get(HOURS_AHEAD, "0")))
    now = clock.utcnow
    clock.utcnow = lambda: now() + ahead


def main(arguments: list[str]) -> None:
    """Run gunicorn or Dramatiq on modules that install failpoints first."""
    kind, *rest = arguments
    if kind == "api":
        command = ["gunicorn", "-c", "python:cli.gunicorn_conf", "--workers", "1", "--threads", "4"]
        command += [*rest, "tests.support.failing_api:app"]
    else:
        command = ["dramatiq", "tests.support.failing_worker", "--skip-logging", "--processes", "1"]
        command += ["--threads", "2", *rest]
    with contextlib.suppress(KeyboardInterrupt):
        os.execv(sys.executable, [sys.executable, "-m", *command])  # noqa: S606 - no shell wanted


if __name__ == "__main__":
    main(sys.argv[1:])

"""Child processes of the tests: each in its own session, with a log, and ended with the tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest

from tests.support import reaper
from tests.support.wait import wait_for

#: Seconds within which a process must exit. A worker may take 20 to finish, and a busy machine is slow.
_GRACE_SECONDS = 60

#: Maximum characters of a log shown in a failure.
_SHOWN = 4_000


class Process:
    """A process that is started by its constructor.

    Args:
        command: the argument vector.
        log: file to which its output is appended.
        env: the whole environment; default: this process's.
        cwd: default: this process's.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _running.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The id of the process and of its process group."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal; None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """Return the end of its output."""
        return self.log.read_text("utf-8", "replace")[-_SHOWN:]

    def wait_until(self, ready: Callable[[], object], timeout: float = 30) -> None:
        """Wait for a condition. Fail, showing its output, after `timeout` seconds or if it ends before."""
        wait_for(
            lambda: ready() or self.returncode is not None, timeout, lambda: f"not ready:\n{self.output()}"
        )
        if self.returncode is not None:
            pytest.fail(f"ended with {self.returncode}:\n{self.output()}")

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal to the process alone."""
        self._process.send_signal(signum)

    def wait(self, timeout: float) -> int | None:
        """Wait at most `timeout` seconds for it to exit; return `returncode`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        return self.returncode

    def stop(self, grace: float = _GRACE_SECONDS) -> int:
        """Send SIGTERM and, after `grace` seconds, SIGKILL to it and its children; return its exit code."""
        self.signal(signal.SIGTERM)
        self.wait(grace)
        return self.kill()

    def kill(self) -> int:
        """Kill it and its children, as a power failure would; return its exit code."""
        if self in _running:  # otherwise its id may belong to another process by now
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            _running.discard(self)
        return self._process.wait()


def end_all(grace: float = 0.5) -> None:
    """Kill the running processes at the end of a run, when the data of servers is discarded."""
    left = _running.all()
    for process in left:
        process.signal(signal.SIGTERM)
    deadline = time.monotonic() + grace
    for process in left:
        process.wait(max(0.0, deadline - time.monotonic()))
        process.kill()
    _running.close()


class _OwnProcesses:
    """The running processes, also known to the reaper."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: set[Process] = set()
        self._reaper: subprocess.Popen[str] | None = None

    def add(self, process: Process) -> None:
        with self._lock:
            self._processes.add(process)
            self._notify_reaper(f"+{process.pid}")

    def discard(self, process: Process) -> None:
        with self._lock:
            self._processes.discard(process)
            self._notify_reaper(f"-{process.pid}")

    def __contains__(self, process: Process) -> bool:
        with self._lock:
            return process in self._processes

    def all(self) -> list[Process]:
        with self._lock:
            return list(self._processes)

    def close(self) -> None:
        with self._lock:
            if self._reaper and self._reaper.stdin:
                self._reaper.stdin.close()
                self._reaper.wait()
                self._reaper = None

    def _notify_reaper(self, line: str) -> None:
        if self._reaper is None:
            self._reaper = subprocess.Popen(
                [sys.executable, "-I", reaper.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        assert self._reaper.stdin
        print(line, file=self._reaper.stdin, flush=True)


_running = _OwnProcesses()

"""Start, watch, and stop the child processes of `movieapp dev`."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

#: Number of log lines shown when a child has died.
_LAST_LINES = 12

#: Runs a command that gets SIGTERM when this process ends, even by SIGKILL (Linux). Python's `preexec_fn` can
#: do this too, but may wait forever for a lock that another thread held during the fork.
_DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


@dataclass(frozen=True)
class Spec:
    """A child process to start.

    Attributes:
        name: shown to the user, such as "the API".
        command: its argument vector.
        ready: returns whether it responds; polled until it does.
    """

    name: str
    command: Sequence[str]
    ready: Callable[[], bool]


class ChildDied(Exception):
    """A child ended unexpectedly."""


class Interrupted(Exception):
    """The user asked to stop."""


class Children:
    """Child processes in groups, in the order they were started.

    Each has its own session: Ctrl-C in the terminal reaches only this process, which then ends the children
    in order, each together with its own children.

    Args:
        log_dir: where each child's output goes, as NAME.log.
        stopping: polled while waiting; True interrupts.
    """

    def __init__(self, log_dir: Path, stopping: Callable[[], bool]) -> None:
        self._log_dir = log_dir
        self._stopping = stopping
        #: Number of children started at the same time.
        self._groups: list[list[tuple[Spec, subprocess.Popen[bytes]]]] = []

    def start(self, specs: Sequence[Spec], environment: Mapping[str, str], timeout: float = 90.0) -> None:
        """Start `specs` concurrently, and wait until all are ready.

        Raises:
            ChildDied: a child ended, or was not ready within `timeout` seconds.
            Interrupted: the user asked to stop.
        """
        group: list[tuple[Spec, subprocess.Popen[bytes]]] = []
        self._groups.append(group)
        for spec in specs:
            if self._stopping():
                raise Interrupted
            with self._log_path(spec).open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 - our own arguments
                    [*_DIE_WITH_PARENT, *spec.command],
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            group.append((spec, process))
        deadline = time.monotonic() + timeout
        waiting = list(specs)
        while waiting:
            if self._stopping():
                raise Interrupted
            self.check()
            waiting = [spec for spec in waiting if not spec.ready()]
            if waiting and time.monotonic() > deadline:
                raise ChildDied(
                    f"{waiting[0].name} did not respond within {timeout:.0f} s.\n{self._tail(waiting[0])}"
                )
            time.sleep(0.05)

    def check(self) -> None:
        """Raise ChildDied if a child has ended."""
        for spec, process in chain.from_iterable(self._groups):
            code = process.poll()
            if code is not None:
                raise ChildDied(f"{spec.name} exited with code {code}.\n{self._tail(spec)}")

    def stop(self, timeout: float = 4.5) -> None:
        """Stop all groups in reverse order. Kill the processes of a group that remain after `timeout`
        seconds."""
        for group in reversed(self._groups):
            deadline = time.monotonic() + timeout
            for _, process in group:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
            for _, process in group:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
                # The child and its descendants that are still running.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._groups.clear()

    def _log_path(self, spec: Spec) -> Path:
        return self._log_dir / f"{spec.name.removeprefix('the ').replace(' ', '-').lower()}.log"

    def _tail(self, spec: Spec) -> str:
        path = self._log_path(spec)
        lines = path.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:]
        return "\n".join([f"The end of {path}:", *(f"  {line}" for line in lines)])

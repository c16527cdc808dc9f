"""How other commands find a running `movieapp dev`: a file of its settings, true while a lock is held."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path


class StackFile:
    """The settings of the embedded stack that runs from one data directory.

    The lock, not a process id, says whether it runs: the kernel lets go of it however the process ends.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "stack.env"
        self._lock_path = data_dir / "lock"
        self._lock: int | None = None

    def acquire(self) -> bool:
        """Claim the data directory until this process ends; False if another has it."""
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def running(self) -> bool:
        """Whether a stack runs from here and has said where."""
        if not self.path.exists():
            return False
        try:
            lock = os.open(self._lock_path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def write(self, environment: Mapping[str, str]) -> None:
        """Say where the stack is."""
        lines = "".join(f"{name}={value!r}\n" for name, value in environment.items())
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(lines)

    def remove(self) -> None:
        """Say no more, and let go of the data directory."""
        self.path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

"""The settings of a running `movieapp dev` in a file, for other commands. Valid while a lock is held."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path


class StackFile:
    """The settings of the embedded stack that runs from one data directory.

    The lock, not a process id, shows whether it runs: the kernel releases it however the process ends.
    """

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "stack.env"
        self._lock_path = data_dir / "lock"
        self._lock: int | None = None

    def acquire(self) -> bool:
        """Lock the data directory until this process ends. Return False if another process has the lock."""
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def running(self) -> bool:
        """Return whether a stack runs from this directory and has written its settings."""
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
        """Write the settings that commands need to reach the stack."""
        lines = "".join(f"{name}={value!r}\n" for name, value in environment.items())
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(lines)

    def remove(self) -> None:
        """Remove the settings and release the data directory."""
        self.path.unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

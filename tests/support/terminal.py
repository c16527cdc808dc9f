"""Run commands on a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Mapping, Sequence


def run_on_terminal(
    command: Sequence[str],
    typed: str = "",
    *,
    env: Mapping[str, str] | None = None,
    until: tuple[str, int] | None = None,
) -> tuple[int, str]:
    """Run a command with stdin, stdout, and stderr on a terminal.

    Args:
        command: the argument vector.
        typed: the user's input.
        env: the whole environment; default: this process's.
        until: an output, and how often it must appear before Ctrl-C is sent.

    Returns:
        Its exit code, and what the terminal received.
    """
    ours, theirs = pty.openpty()
    try:
        environment = {**(os.environ if env is None else env), "TERM": "xterm", "COLUMNS": "100"}
        with subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
        ) as process:
            os.close(theirs)
            os.write(ours, typed.encode())
            received = b""
            try:
                while chunk := _read(ours):
                    received += chunk
                    if until and received.count(until[0].encode()) >= until[1]:
                        process.send_signal(signal.SIGINT)
                        until = None
            except BaseException:  # for example a test's timeout; Popen would wait for the process
                process.kill()
                raise
    finally:
        os.close(ours)
    return process.returncode, received.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # EIO: the other end is closed
        return b""

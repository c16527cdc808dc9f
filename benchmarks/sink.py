"""Run Postfix's smtp-sink, which accepts, discards, and counts all mails."""

from __future__ import annotations

import getpass
import os
import pty
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.harness import wait_until
from tests.support.ports import free_port, listens


class Sink:
    """A running smtp-sink.

    Attributes:
        port: on 127.0.0.1.
        mails: number of accepted mails.
    """

    def __init__(self, port: int, terminal: int) -> None:
        self.port = port
        self.mails = 0
        self._terminal = terminal
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        output = b""
        while True:
            try:
                output = output[-200:] + os.read(self._terminal, 4096)
            except OSError:  # smtp-sink has ended
                return
            if counts := re.findall(rb"mesg=(\d+)\D", output):
                self.mails = int(counts[-1])

    def wait_for(self, mails: int) -> None:
        """Wait until smtp-sink has accepted `mails` mails in total."""
        wait_until(lambda: self.mails >= mails, f"only {self.mails} of {mails} mails came", seconds=180)


@contextmanager
def sink() -> Iterator[Sink]:
    """Run an smtp-sink on a terminal. With a pipe, it would buffer its counts."""
    if (binary := shutil.which("smtp-sink", path=f"{os.environ['PATH']}:/usr/sbin")) is None:
        raise SystemExit("smtp-sink is not installed (Debian: apt-get install postfix)")
    port, (ours, its) = free_port(), pty.openpty()
    user = ["-u", getpass.getuser()] if os.geteuid() == 0 else []
    process = subprocess.Popen([binary, *user, "-c", f"127.0.0.1:{port}", "256"], stdout=its)
    os.close(its)
    try:
        wait_until(lambda: listens(port), "smtp-sink did not start")
        yield Sink(port, ours)
    finally:
        process.terminate()
        process.wait(10)
        os.close(ours)

"""Run `movieapp dev` as a newcomer does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from app.settings import Settings
from tests.support.commands import MOVIEAPP
from tests.support.ports import free_port
from tests.support.wait import wait_for


class Dev:
    """A running `movieapp dev` on free ports.

    Args:
        cwd: where it keeps its data.
        movieapp: the command, as it is installed.
        environment: what to set.
    """

    def __init__(self, cwd: Path, *, movieapp: Sequence[str] = MOVIEAPP, **environment: str) -> None:
        self.port, self.smtp, self.inbox = free_port(), free_port(), free_port()
        self.cwd = cwd
        self.command = [*movieapp, "dev", "--port", str(self.port)]
        self.command += ["--smtp-port", str(self.smtp), "--inbox-port", str(self.inbox)]
        self.environment = clean_environment() | environment
        self.start()

    def start(self) -> None:
        """Start it, also after `stop`."""
        self.output = (self.cwd / "output.txt").open("w+b")
        self.process = subprocess.Popen(
            self.command,
            cwd=self.cwd,
            env=self.environment,
            stdout=self.output,
            stderr=subprocess.STDOUT,
        )
        self.children: list[psutil.Process] = []

    def wait_until_healthy(self) -> None:
        wait_for(lambda: self.said("Ctrl-C stops everything") or self.ended(), 120, self.printed().decode)
        assert not self.ended(), self.printed().decode()
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def said(self, words: str) -> bool:
        return words.encode() in self.printed()

    def ended(self) -> bool:
        return self.process.poll() is not None

    def printed(self) -> bytes:
        return Path(self.output.name).read_bytes()

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://localhost:{self.port}{path}", timeout=30) as response:
            return json.load(response)

    def text(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://localhost:{self.port}{path}", timeout=30) as response:
                return str(response.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return f"{error.code} {error.read().decode()}"

    def mails(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"http://localhost:{self.inbox}/messages/", timeout=30) as response:
            messages: list[dict[str, Any]] = json.load(response)["messages"]
            return messages

    def mail_part(self, mail_id: int, kind: str) -> str:
        with urllib.request.urlopen(
            f"http://localhost:{self.inbox}/messages/{mail_id}.{kind}", timeout=30
        ) as part:
            return str(part.read().decode())

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> None:
        """Stop it, and check that no process is left."""
        self.process.send_signal(signum)
        self.process.wait(60)
        self.output.close()
        assert no_children(self.children), "a child process is left"

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.output.close()


def no_children(children: list[psutil.Process]) -> bool:
    return all(has_ended(child) for child in children)


def has_ended(child: psutil.Process) -> bool:
    try:
        return child.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def clean_environment() -> dict[str, str]:
    names = {name.upper() for name in Settings.model_fields}
    return {name: value for name, value in os.environ.items() if name not in names}

"""The processes that serve and that mail: which they are, and the memory that they have."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

import psutil

from app.settings import Settings
from benchmarks.harness import wait_until

_TIMEOUT_SECONDS = 180


class Memory(NamedTuple):
    """MiB. What processes share counts whole in RSS, in parts in PSS, and not at all in USS."""

    rss: float
    pss: float
    uss: float

    @classmethod
    def of(cls, process: psutil.Process) -> Memory:
        """What a process has now."""
        found = process.memory_full_info()
        return cls(*(size / 2**20 for size in (found.rss, found.pss, found.uss)))

    @classmethod
    def peak(cls, process: psutil.Process, busy: Callable[[], bool]) -> Memory:
        """The most that a process has while it is busy."""
        samples, give_up_at = [cls.of(process)], time.monotonic() + _TIMEOUT_SECONDS
        while busy():
            if time.monotonic() > give_up_at:
                raise SystemExit(f"still busy after {_TIMEOUT_SECONDS} seconds")
            time.sleep(0.1)
            samples.append(cls.of(process))
        return cls(*map(max, zip(*samples, strict=True)))


def healthy(url: str) -> bool:
    """Whether the API there answers."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:  # noqa: S310 - our own, by http
            return bool(response.status == 200)
    except OSError:
        return False


def api_process(url: str, master: psutil.Process) -> psutil.Process:
    """gunicorn's one worker process, once it answers."""
    wait_until(lambda: healthy(url), "the API does not answer")
    [process] = master.children()
    return process


def worker_process() -> psutil.Process:
    """The `movieapp worker` that this process has started."""
    [process] = [each for each in psutil.Process().children() if "worker" in each.cmdline()]
    return process


def actor_process() -> psutil.Process:
    """The one process in which that runs the actors."""
    [process] = worker_process().children()
    return process


def mailing(settings: Settings, port: int) -> Settings:
    """The settings, with mails that go to an smtp-sink on `port`."""
    mail = {"smtp_server": "127.0.0.1", "smtp_port": port, "smtp_security": "none"}
    return settings.model_copy(update=mail | {"worker_metrics_bind": "none"})

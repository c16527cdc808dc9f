"""Find the serving and mailing processes, and measure their memory."""

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
    """Memory in MiB. Shared pages count fully in RSS, proportionally in PSS, and not at all in USS."""

    rss: float
    pss: float
    uss: float

    @classmethod
    def of(cls, process: psutil.Process) -> Memory:
        """Return the current memory of a process."""
        found = process.memory_full_info()
        return cls(*(size / 2**20 for size in (found.rss, found.pss, found.uss)))

    @classmethod
    def peak(cls, process: psutil.Process, busy: Callable[[], bool]) -> Memory:
        """Return the maximum memory of a process while it is busy."""
        samples, give_up_at = [cls.of(process)], time.monotonic() + _TIMEOUT_SECONDS
        while busy():
            if time.monotonic() > give_up_at:
                raise SystemExit(f"still busy after {_TIMEOUT_SECONDS} seconds")
            time.sleep(0.1)
            samples.append(cls.of(process))
        return cls(*map(max, zip(*samples, strict=True)))


def healthy(url: str) -> bool:
    """Return whether the API at `url` responds."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:  # noqa: S310 - our own, by http
            return bool(response.status == 200)
    except OSError:
        return False


def api_process(url: str, master: psutil.Process) -> psutil.Process:
    """Return gunicorn's only worker process, once the API responds."""
    wait_until(lambda: healthy(url), "the API does not respond")
    [process] = master.children()
    return process


def worker_process() -> psutil.Process:
    """Return the `movieapp worker` that this process has started."""
    [process] = [each for each in psutil.Process().children() if "worker" in each.cmdline()]
    return process


def actor_process() -> psutil.Process:
    """Return the worker's only process that runs actors."""
    [process] = worker_process().children()
    return process


def mailing(settings: Settings, port: int) -> Settings:
    """Return settings that send mails to an smtp-sink on `port`."""
    mail = {"smtp_server": "127.0.0.1", "smtp_port": port, "smtp_security": "none"}
    # Every mail has the same recipient.
    unlimited = {"recipient_limits": "none"}
    return settings.model_copy(update=mail | unlimited | {"worker_metrics_bind": "none"})

"""Measure start times, and the memory of processes when idle and at peak load.

    make bench PARTS=startup

`movieapp dev` is timed until /health responds. `movieapp worker` is timed until a mail is accepted for an
event that waited in RabbitMQ. The processor time is that of all processes that a command starts.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.harness import cpu_seconds, gunicorn, load, servers, serving, wait_until
from benchmarks.notifications import exchange, publish, running, worker
from benchmarks.processes import (
    Memory,
    actor_process,
    api_process,
    healthy,
    mailing,
    worker_process,
)
from benchmarks.sink import sink
from tests.support.commands import MOVIEAPP
from tests.support.dev import Dev

#: The load for memory measurements: clients and seconds for the API, and events at once for the worker.
_CLIENTS, _SECONDS, _EVENTS = 16, 5, 500


class Start(NamedTuple):
    """Times of a start, in seconds."""

    cpu: float
    wall: float


def command(*arguments: str) -> Start:
    """Run a command to its end."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(arguments, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Start(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)


def dev() -> Start:
    """Start `movieapp dev` in an empty directory."""
    with tempfile.TemporaryDirectory(prefix="movieapp-bench-") as directory:
        started = time.monotonic()
        stack = Dev(Path(directory))
        try:
            url = f"http://127.0.0.1:{stack.port}"
            wait_until(lambda: healthy(url), "movieapp dev does not answer", stack.process, 60)
            found = Start(cpu_seconds(psutil.Process(stack.process.pid)), time.monotonic() - started)
            stack.wait_until_healthy()
            stack.stop()
        finally:
            stack.close()
    return found


def first_mail() -> Start:
    """Start `movieapp worker` for an event that waits."""
    with servers() as standard, sink() as sunk:
        settings = mailing(standard, sunk.port)
        with exchange(settings) as channel:
            publish(channel, settings, "waiting")
            started = time.monotonic()
            with running(worker(1), settings):
                sunk.wait_for(1)
                return Start(cpu_seconds(worker_process()), time.monotonic() - started)


def api_memory() -> Iterator[Memory]:
    """Return the memory of an API worker process: idle, and under load."""
    with (
        servers() as settings,
        exchange(settings),
        serving(gunicorn("wsgi:app"), settings) as (url, master),
    ):
        process = api_process(url, master)
        yield Memory.of(process)
        with ThreadPoolExecutor() as pool:
            loading = pool.submit(load, url, master, _CLIENTS, _SECONDS)
            yield Memory.peak(process, lambda: not loading.done())
            if loading.result().wrong:
                raise SystemExit("some payments got an unexpected response")


def actor_memory() -> Iterator[Memory]:
    """Return the memory of an actor process: idle, and under load."""
    with servers() as standard, sink() as sunk:
        settings = mailing(standard, sunk.port)
        with exchange(settings) as channel, running(worker(1), settings):
            publish(channel, settings, "first")
            sunk.wait_for(1)
            process = actor_process()
            yield Memory.of(process)
            for number in range(_EVENTS):
                publish(channel, settings, number)
            yield Memory.peak(process, lambda: sunk.mails <= _EVENTS)


def main() -> None:
    """Print a table of medians, and one of memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    starts: dict[str, tuple[Callable[[], Start], int]] = {
        "python -c pass": (partial(command, sys.executable, "-c", "pass"), 10),
        "movieapp --help": (partial(command, *MOVIEAPP, "--help"), 10),
        "movieapp dev, to /health": (dev, options.rounds),
        "movieapp worker, to its first mail": (first_mail, options.rounds),
    }
    print(f"{'median':36}{'cpu s':>9}{'wall s':>9}{'x python':>9}")
    least = None
    for name, (start, runs) in starts.items():
        cpu, wall = map(statistics.median, zip(*(start() for _ in range(runs)), strict=True))
        least = least or wall
        print(f"{name:36}{cpu:9.2f}{wall:9.2f}{wall / least:9.1f}")
    print(f"{'MiB':36}{'RSS':>9}{'PSS':>9}{'USS':>9}")
    for name, measure in (("API worker process", api_memory), ("actor process", actor_memory)):
        for state, memory in zip(("idle", "under load"), measure(), strict=True):
            print(f"{f'{name}, {state}':36}" + "".join(f"{size:9.1f}" for size in memory))


if __name__ == "__main__":
    main()

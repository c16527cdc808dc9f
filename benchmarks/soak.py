"""Check whether a process grows: payments at a steady rate, each with a mail, for a quarter of an hour.

    make bench PARTS=soak                        # or: python -m benchmarks.soak --minutes 5

Runs one API worker process and one actor process, between RabbitMQ and smtp-sink. Exit code 1 if the numbers
of payments and mails differ, or if the RSS of one of the two processes has grown by more than 5 % since a
third of the time had passed. The memory of the databases is not measured.
"""

from __future__ import annotations

import argparse
import statistics
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil
import urllib3

from benchmarks.harness import gunicorn, servers, serving
from benchmarks.notifications import running, worker
from benchmarks.processes import Memory, actor_process, api_process, mailing
from benchmarks.sink import Sink, sink

_CLIENTS = 8
#: Seconds between two samples, and to wait for the last mails.
_INTERVAL_SECONDS, _TIMEOUT_SECONDS = 10.0, 60.0
_MAX_GROWTH = 0.05


@dataclass(frozen=True)
class Sample:
    """The memory of the processes, `seconds` after the start."""

    at: float
    memory: dict[str, Memory]


def pay(api: urllib3.HTTPConnectionPool) -> bool:
    """Pay for a new booking. Return whether the payment succeeded."""
    order = {"user_id": "user_1", "booking_id": uuid.uuid4().hex, "user_email": "jane.doe@example.com"}
    try:
        response = api.request(
            "POST", "/payment/process", json=order | {"amount": 25.5, "payment_method": "credit_card"}
        )
    except urllib3.exceptions.HTTPError:
        return False
    return response.status == 200


def soak(
    api: urllib3.HTTPConnectionPool,
    processes: dict[str, psutil.Process],
    count: int,
    rate: float,
) -> tuple[int, list[Sample]]:
    """Take payments at a steady rate. Return how many succeeded, and samples of the processes' memory."""
    interval = min(_INTERVAL_SECONDS, count / rate / 30)
    samples: list[Sample] = []
    began = time.monotonic()

    def look() -> None:
        memory = {name: Memory.of(process) for name, process in processes.items()}
        samples.append(Sample(time.monotonic() - began, memory))

    with ThreadPoolExecutor(_CLIENTS) as pool:
        payments = []
        for number in range(count):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            payments.append(pool.submit(pay, api))
            if time.monotonic() - began >= len(samples) * interval:
                look()
        paid = sum(payment.result() for payment in payments)
    look()
    return paid, samples


def mails_after(sunk: Sink, expected: int) -> int:
    """Wait for all mails, and for possible duplicates. Return their number."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while sunk.mails < expected and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)
    return sunk.mails


def grown(samples: list[Sample], name: str) -> float:
    """Return the growth of a process's RSS since a third of the time had passed, as a fraction."""
    end = samples[-1]
    third = next(sample for sample in samples if sample.at >= end.at / 3)
    return end.memory[name].rss / third.memory[name].rss - 1


def slope(samples: list[Sample], name: str) -> float:
    """Return the growth of RSS in MiB an hour, by least squares over the second half."""
    late = [sample for sample in samples if sample.at >= samples[-1].at / 2]
    hours, sizes = [each.at / 3600 for each in late], [each.memory[name].rss for each in late]
    return statistics.linear_regression(hours, sizes).slope


def show(samples: list[Sample]) -> None:
    """Print one line for each minute, and the last sample."""
    names = list(samples[0].memory)
    print(f"{'minute':>8}", *(f"{f'{name} {kind}':>12}" for name in names for kind in ("RSS", "USS")), " MiB")
    shown = -1
    for sample in samples:
        minute = int(sample.at // 60)
        if minute != shown or sample is samples[-1]:
            sizes = [size for name in names for size in (sample.memory[name].rss, sample.memory[name].uss)]
            print(f"{sample.at / 60:8.1f}", *(f"{size:12.1f}" for size in sizes))
        shown = minute


def main() -> None:
    """Print the growth of the two processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--rate", type=float, default=20, help="payments a second")
    options = parser.parse_args()
    count = int(options.minutes * 60 * options.rate)
    with servers() as standard, sink() as sunk:
        settings = mailing(standard, sunk.port)
        with (
            running(worker(1), settings),
            serving(gunicorn("wsgi:app"), settings) as (url, master),
        ):
            api = urllib3.connection_from_url(url, maxsize=_CLIENTS, timeout=30, retries=False)
            processes = {"API": api_process(url, master)}
            pay(api)
            sunk.wait_for(1)
            processes["actors"] = actor_process()
            paid, samples = soak(api, processes, count, options.rate)
            mails = mails_after(sunk, 1 + paid) - 1
    show(samples)
    failed = paid != mails
    print(f"{count} payments in {samples[-1].at:.0f} s: {paid} answered 200, {mails} mails accepted")
    for name in samples[0].memory:
        growth = grown(samples, name)
        failed |= growth > _MAX_GROWTH
        print(f"{name}: {slope(samples, name):+.1f} MiB an hour, {growth:+.1%} since a third of the time")
    if failed:
        raise SystemExit("a process has grown, or the numbers of payments and mails differ")


if __name__ == "__main__":
    main()

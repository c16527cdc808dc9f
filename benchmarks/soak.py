"""Whether a process grows: payments at a steady rate, each with a mail, for a quarter of an hour.

    make bench PARTS=soak                        # or: python -m benchmarks.soak --minutes 5

One API worker process and one actor process, between RabbitMQ and smtp-sink. Exit code 1 if a payment and a
mail is missing or too many, or if one of the two processes has grown by more than a twentieth of its RSS
since a third of the time was over. What the databases keep is theirs and not looked at.
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
#: Seconds between two samples; for the last mails.
_INTERVAL_SECONDS, _TIMEOUT_SECONDS = 10.0, 60.0
_MAX_GROWTH = 0.05


@dataclass(frozen=True)
class Sample:
    """What the processes had, so many seconds after the begin."""

    at: float
    memory: dict[str, Memory]


def pay(api: urllib3.HTTPConnectionPool) -> bool:
    """Take a payment of a new booking; whether it was taken."""
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
    """Take payments at a steady rate; how many were taken, and what the processes had meanwhile."""
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
    """How many there are once all have come, and one too many would have."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while sunk.mails < expected and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(2)
    return sunk.mails


def grown(samples: list[Sample], name: str) -> float:
    """By what part of its RSS a process has grown since a third of the time was over."""
    end = samples[-1]
    third = next(sample for sample in samples if sample.at >= end.at / 3)
    return end.memory[name].rss / third.memory[name].rss - 1


def slope(samples: list[Sample], name: str) -> float:
    """MiB of RSS an hour, by least squares over the second half."""
    late = [sample for sample in samples if sample.at >= samples[-1].at / 2]
    hours, sizes = [each.at / 3600 for each in late], [each.memory[name].rss for each in late]
    return statistics.linear_regression(hours, sizes).slope


def show(samples: list[Sample]) -> None:
    """Print a line a minute, and the last."""
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
    """Print how the two processes grew."""
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
        raise SystemExit("a process has grown, or payments and mails differ")


if __name__ == "__main__":
    main()

"""Measure how many payments a worker process can hold while the gateway takes 300 ms, and their cost.

    make bench PARTS=slow_gateway

Waves: payments arrive evenly within the gateway's response time, so that at its end all are in flight. Then
there is a pause. The overhead is the time of a payment beyond the gateway's. Steady: each client sends its
next payment after the response to the last one. There, the processors are the limit, not the threads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil

from benchmarks.harness import gunicorn, load, servers, serving
from benchmarks.processes import Memory, api_process
from tests.support.stripe import StripeSimulator

#: The gateway's response time, in seconds.
_GATEWAY_SECONDS = 0.3
_PAUSE_SECONDS = 1.2


@dataclass(frozen=True)
class Waves:
    """The result of some waves.

    Attributes:
        p50, p99: milliseconds beyond the gateway's response time.
        wrong: number of responses other than 200.
        memory: MiB of the process for each payment in flight.
    """

    p50: float
    p99: float
    wrong: int
    memory: float


async def _pay(host: str, port: int, at: float) -> tuple[float, bool]:
    """Pay at a given time of the event loop's clock. Return the duration in seconds, and whether it
    succeeded.
    """
    order = {
        "user_id": "u",
        "booking_id": uuid.uuid4().hex,
        "amount": 25.5,
        "payment_method": "credit_card",
    }
    body = json.dumps(order).encode()
    head = (
        f"POST /payment/process HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    await asyncio.sleep(at - loop.time())
    reader, writer = await asyncio.open_connection(host, port)
    started = loop.time()
    writer.write(head.encode() + body)
    response = await reader.read()
    took = loop.time() - started
    writer.close()
    return took, response.startswith(b"HTTP/1.1 200 ")


async def _wave(url: str, payments: int) -> list[tuple[float, bool]]:
    where = urlsplit(url)
    begin = asyncio.get_running_loop().time() + 0.05
    times = (begin + number * _GATEWAY_SECONDS / payments for number in range(payments))
    return await asyncio.gather(*(_pay(str(where.hostname), where.port or 0, at) for at in times))


def waves(url: str, process: psutil.Process, payments: int, count: int) -> Waves:
    """Send `count` waves of `payments`, after a first one that opens connections and starts threads."""
    asyncio.run(_wave(url, 1))
    idle = Memory.of(process).uss
    asyncio.run(_wave(url, payments))
    responses = []
    for _ in range(count):
        time.sleep(_PAUSE_SECONDS)  # for work after the responses
        responses += asyncio.run(_wave(url, payments))
    beyond = [(took - _GATEWAY_SECONDS) * 1000 for took, _ in responses]
    return Waves(
        statistics.median(beyond),
        statistics.quantiles(beyond, n=100)[98],
        sum(not right for _, right in responses),
        (Memory.of(process).uss - idle) / payments,
    )


def main() -> None:
    """Print a table for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[16, 32, 64, 96, 128])
    parser.add_argument("--payments", type=int, nargs="+", default=[30, 60, 90])
    parser.add_argument("--waves", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=6, help="duration of each steady load")
    options = parser.parse_args()
    for threads in options.threads:
        with servers() as settings:
            settings = settings.model_copy(update={"web_threads": threads})
            StripeSimulator(settings.payment_gateway_url).fault(
                match="POST /v1/payment_intents", kind="delay", seconds=_GATEWAY_SECONDS, times=0
            )
            with serving(gunicorn("wsgi:app"), settings) as (url, process):
                print(f"\nWEB_THREADS={threads}: {settings.gateway_calls} calls of the gateway at once")
                headings = ("at once", "p50 ms", "p99 ms", "wrong", "MiB each")
                print(f"{'wave':10}", *(f"{heading:>10}" for heading in headings))
                for payments in options.payments:
                    found = waves(url, api_process(url, process), payments, options.waves)
                    print(f"{'':10} {payments:10} {found.p50:10.0f} {found.p99:10.0f}", end="")
                    print(f" {found.wrong:10} {found.memory:10.2f}")
                headings = ("clients", "p50 ms", "p99 ms", "wrong", "a second")
                print(f"{'steady':10}", *(f"{heading:>10}" for heading in headings))
                for clients in options.payments:
                    steady = load(url, process, clients, options.seconds)
                    beyond = (steady.p50 - _GATEWAY_SECONDS * 1000, steady.p99 - _GATEWAY_SECONDS * 1000)
                    print(f"{'':10} {clients:10} {beyond[0]:10.0f} {beyond[1]:10.0f}", end="")
                    print(f" {steady.wrong:10} {steady.answered:10.1f}")


if __name__ == "__main__":
    main()

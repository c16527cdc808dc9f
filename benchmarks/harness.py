"""Run servers, put a load on them, and measure their processor time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pika
import psutil

from app.messaging.queues import QUEUES
from app.messaging.topology import Topology
from app.settings import Settings
from tests.support.commands import environment
from tests.support.ports import free_port, listens
from tests.support.servers import MongoServer, RedisServer, StripeServer
from tests.support.services import RABBITMQ_URL, with_database

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Load:
    """The result of a load.

    Attributes:
        answered: correct responses a second.
        wrong: number of other responses.
        p50, p99: response times in milliseconds.
        cpu: milliseconds of processor time for each request, of all serving processes.
    """

    answered: float
    wrong: int
    p50: float
    p99: float
    cpu: float


class _MongoServer(MongoServer):
    def command(self) -> Sequence[str]:
        # With the tests' 128 MB, it stalls at twenty thousand documents.
        changed = {"secantus": "benchmarks.mongodb", "128M": "4G"}
        return [changed.get(word, word) for word in super().command()]


@contextmanager
def servers() -> Iterator[Settings]:
    """Run a MongoDB server, Redis, and the Stripe simulator, and use this machine's RabbitMQ."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="movieapp-bench-")))
        mongo, redis = _MongoServer(directory / "mongo"), RedisServer(directory / "redis")
        stripe = StripeServer(directory / "stripe")
        given = os.environ.get("BENCH_MONGODB_URI")
        for server in (redis, stripe) if given else (mongo, redis, stripe):
            server.start()
            stack.callback(server.stop)
        token = uuid.uuid4().hex[:8]
        settings = Settings(
            _env_file=None,
            mongodb_uri=with_database(given or mongo.url, f"bench_{token}"),
            redis_url=redis.url,
            rabbitmq_url=RABBITMQ_URL,
            rabbitmq_exchange=f"bench-{token}",
            namespace=f"bench-{token}.",
            payment_gateway_url=stripe.url,
            payment_gateway_api_key="sk_test_bench",
            ratelimit_payments="10000000 per minute; 1000000 per 10 seconds",
            metrics_bind="none",
        )
        stack.callback(_clean, settings)
        yield settings


def _clean(settings: Settings) -> None:
    """Delete the benchmark's queues and exchanges from this machine's RabbitMQ."""
    topology = Topology.of(settings)
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        channel = connection.channel()
        for queue in map(topology.queue, QUEUES):
            for suffix in ("", ".DQ", ".XQ"):
                channel.queue_delete(f"{queue}{suffix}")
        channel.exchange_delete(settings.rabbitmq_exchange)


def gunicorn(app: str, workers: int = 1) -> tuple[str, ...]:
    """Return the command that serves a WSGI application as in a deployment."""
    return ("cli.main", "serve", "--app", app, "--workers", str(workers), "--bind")


def uvicorn(app: str) -> tuple[str, ...]:
    """Return the command that serves an ASGI application, with uvloop and httptools if they are installed."""
    return ("benchmarks.uvicorn", app)


@contextmanager
def serving(command: Sequence[str], settings: Settings) -> Iterator[tuple[str, psutil.Process]]:
    """Run a server. The arguments of its module end with the address, which is added here.

    Returns:
        The URL, and the (master) process.
    """
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-m", *command, address],
        cwd=ROOT,
        env=environment(settings),
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: listens(int(address.split(":")[1])), f"{command} did not start", process)
        yield f"http://{address}", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(60)


def start_workers(module: str, settings: Settings, count: int) -> list[subprocess.Popen[str]]:
    """Start `count` processes of `python -m module --work`. Each prints a line when it is ready, starts its
    work at a line on standard input, and ends when standard input closes.
    """
    command = [sys.executable, "-m", module, "--work"]
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen(command, cwd=ROOT, env=environment(settings), **options)  # type: ignore[call-overload]
        for _ in range(count)
    ]
    for worker in started:
        worker.stdout.readline()
    return started


def wait_until(
    condition: Callable[[], bool],
    otherwise: str,
    process: subprocess.Popen[bytes] | None = None,
    seconds: float = 30,
) -> None:
    """Wait for a condition. Exit with the message `otherwise` at the timeout, or if the process has ended."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or (process is not None and process.poll() is not None):
            raise SystemExit(otherwise)
        time.sleep(0.01)


def load(url: str, served_by: psutil.Process, clients: int, seconds: float) -> Load:
    """Run a closed loop: each client sends its next request after the response to the last one."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is not installed (Debian: apt-get install wrk)")
    before = cpu_seconds(served_by)
    command = [wrk, "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s"]
    script = ROOT / "benchmarks/payment.lua"
    done = subprocess.run(
        [*command, "-s", script, url],
        env={**os.environ, "RUN": uuid.uuid4().hex},
        capture_output=True,
        text=True,
        check=True,
    )
    output = json.loads(done.stdout.splitlines()[-1])
    took = _cpu_once_quiet(served_by) - before
    return Load(
        output["right"] / output["seconds"],
        output["wrong"],
        output["p50"],
        output["p99"],
        took * 1000 / output["all"],
    )


def _cpu_once_quiet(process: psutil.Process) -> float:
    """Return the processor time after all work is done, which includes work after the responses, such as
    publishing events.
    """
    now, before = cpu_seconds(process), -1.0
    while now > before:
        time.sleep(0.3)
        now, before = cpu_seconds(process), now
    return now


def cpu_seconds(process: psutil.Process) -> float:
    """Return the processor time of a process and its children, including ended ones."""
    return sum(sum(each.cpu_times()[:4]) for each in (process, *process.children(recursive=True)))

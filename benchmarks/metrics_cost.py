"""Measure what metrics cost: the processor time of a payment request with and without them.

    movieapp dev &
    python -m benchmarks.metrics_cost

One process accepts payments with the servers of `movieapp dev`. In every second round, prometheus_client's
methods do nothing. The values are kept in files, as under gunicorn.
"""

from __future__ import annotations

import os
import statistics
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from app.telemetry import multiprocess

DIRECTORY = multiprocess.begin()

from prometheus_client import Counter, Gauge, Histogram  # noqa: E402 - the directory has to be there

from app import create_app  # noqa: E402
from cli.options import settings_for  # noqa: E402

ROUNDS, PAYMENTS = 30, 40


class Nothing:
    """A metric that records nothing."""

    def inc(self, _amount: float = 1) -> None:
        """Do nothing."""

    dec = observe = set = inc

    @contextmanager
    def track_inprogress(self) -> Iterator[None]:
        """Do nothing."""
        yield

    time = track_inprogress


@contextmanager
def without_metrics() -> Iterator[None]:
    """Replace every metric by one that records nothing."""
    nothing = Nothing()
    with (
        patch.object(Counter, "labels", lambda *_: nothing),
        patch.object(Histogram, "labels", lambda *_: nothing),
        patch.object(Gauge, "track_inprogress", lambda _: nothing.track_inprogress()),
    ):
        yield


def main() -> None:
    """Print the medians, and the metrics' share of them."""
    os.environ["RATELIMIT_ENABLED"] = "0"
    client = create_app(settings_for(Path(os.environ.get("MOVIEAPP_DATA_DIR", ".movieapp")))).test_client()

    def seconds_of_a_payment() -> float:
        order = {
            "user_id": "u",
            "booking_id": uuid.uuid4().hex,
            "amount": 25.5,
            "payment_method": "credit_card",
        }
        started = time.thread_time()
        response = client.post("/payment/process", json=order)
        took = time.thread_time() - started
        assert response.status_code == 200, response.text  # noqa: S101
        return took

    def a_round() -> float:
        return statistics.median(seconds_of_a_payment() for _ in range(PAYMENTS)) * 1000

    a_round()
    counted, uncounted = [], []
    for _ in range(ROUNDS):
        counted.append(a_round())
        with without_metrics():
            uncounted.append(a_round())
    share = statistics.median(one / other - 1 for one, other in zip(counted, uncounted, strict=True))
    multiprocess.end(DIRECTORY)
    print(f"with metrics    {statistics.median(counted):.3f} ms of processor time a request")
    print(f"without         {statistics.median(uncounted):.3f} ms")
    print(f"metrics cost    {share:.1%}")


if __name__ == "__main__":
    main()

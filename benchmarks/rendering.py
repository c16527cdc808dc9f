"""Measure how long one mail takes from event to bytes: Jinja, MJML, QR code, calendar file, and MIME.

make bench PARTS=rendering
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from actors.channels.email.compose import compose
from actors.channels.email.render import TEMPLATES, Brand, Renderer
from actors.channels.email.samples import sample

MAILS = 300
ADDRESS = "tickets@movieapp.example.com"
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def measure(renderer: Renderer, template: str) -> Callable[[int], None]:
    """Return the durations of mails for different bookings, so that no cache holds their codes or pages."""

    def make(number: int) -> None:
        event = sample(template) | {"booking_id": f"BOOK-{number}"}
        compose(
            renderer.render(template, event),
            recipient="jane.doe@example.com",
            sender=("MovieApp", ADDRESS),
            message_id="<a@example.com>",
            date=NOW,
        ).as_bytes()

    return make


def main() -> None:
    """Print the median and the 99th percentile of each template, in milliseconds of processor time."""
    renderer = Renderer(Brand("MovieApp", ADDRESS), "USD")
    print(f"{'template':24}{'median':>8}{'p99':>8}   ms")
    for template in TEMPLATES:
        make = measure(renderer, template)
        times = []
        for number in range(MAILS):
            started = time.process_time()
            make(number)
            times.append((time.process_time() - started) * 1000)
        print(f"{template:24}{statistics.median(times):8.2f}{statistics.quantiles(times, n=100)[98]:8.2f}")


if __name__ == "__main__":
    main()

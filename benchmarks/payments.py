"""A payment whole, under gunicorn with one worker process, beside a bare Flask route and a minimum by hand.

    make bench PARTS=payments    # or: python -m benchmarks.payments --seconds 10 --rounds 5

All in one run, in turns: what counts are the ratios, machines differ. The simulator answers at once; it and
the databases run on the same processors, so look at the processor time: it is of gunicorn's processes only.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict

from benchmarks.harness import Load, gunicorn, load, servers, serving, uvicorn

#: Name → the command that serves it.
CANDIDATES = {
    "movieapp": gunicorn("wsgi:app"),
    "minimum": gunicorn("benchmarks.minimum:app"),
    "on urllib3": gunicorn("benchmarks.minimum:lean"),
    "FastAPI": uvicorn("benchmarks.rival:app"),
    "FastAPI tuned": uvicorn("benchmarks.rival:tuned"),
    "bare Flask": gunicorn("benchmarks.bare:app"),
}

HEADINGS = ("clients", "a second", "p50 ms", "p99 ms", "cpu ms", "x minimum", "wrong")


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="of each load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    options = parser.parse_args()
    found: dict[tuple[str, int], list[Load]] = defaultdict(list)
    for _ in range(options.rounds):
        for name, command in CANDIDATES.items():
            with servers() as settings, serving(command, settings) as (url, process):
                load(url, process, 4, 3)  # warm
                for clients in options.clients:
                    found[name, clients].append(load(url, process, clients, options.seconds))
    print(f"{'':13}", *(f"{heading:>10}" for heading in HEADINGS))
    for (name, clients), loads in found.items():
        cpu = statistics.median(each.cpu for each in loads)
        least = statistics.median(each.cpu for each in found["minimum", clients])
        medians = (
            statistics.median(getattr(each, field) for each in loads) for field in ("answered", "p50", "p99")
        )
        figures = (*medians, cpu, cpu / least)
        shown = (f"{figure:10.2f}" for figure in figures)
        print(f"{name:13} {clients:10}", *shown, f"{sum(each.wrong for each in loads):10}")


if __name__ == "__main__":
    main()

"""Compare a complete payment, under gunicorn with one worker process, with a bare Flask route and a minimum.

    make bench PARTS=payments    # or: python -m benchmarks.payments --seconds 10 --rounds 7

All candidates use the same servers, and take their loads in turns, because a machine's speed varies. Compare
the ratios, which are medians over all rounds. The simulator responds at once, and shares the processors with
the databases. Therefore, compare the processor time, which is that of the serving processes only.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from contextlib import ExitStack

from benchmarks import nodejs
from benchmarks.harness import Load, gunicorn, load, servers, serving, uvicorn

#: Name → the command that serves the candidate.
CANDIDATES = {
    "movieapp": gunicorn("wsgi:app"),
    "minimum": gunicorn("benchmarks.minimum:app"),
    "on urllib3": gunicorn("benchmarks.minimum:lean"),
    "FastAPI": uvicorn("benchmarks.rival:app"),
    "FastAPI tuned": uvicorn("benchmarks.rival:tuned"),
    "Node": ("benchmarks.nodejs",),
    "bare Flask": gunicorn("benchmarks.bare:app"),
}

HEADINGS = ("clients", "a second", "x FastAPI", "p50 ms", "p99 ms", "cpu ms", "x minimum", "wrong")


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="duration of each load")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    options = parser.parse_args()
    nodejs.install()
    found: dict[tuple[str, int], list[Load]] = defaultdict(list)
    with servers() as settings, ExitStack() as stack:
        up = {name: stack.enter_context(serving(command, settings)) for name, command in CANDIDATES.items()}
        for url, process in up.values():
            # Ours is first, because it declares the queue for the events of all candidates.
            load(url, process, 4, 3)
        for _ in range(options.rounds):
            for clients in options.clients:
                for name, (url, process) in up.items():
                    found[name, clients].append(load(url, process, clients, options.seconds))
    print(f"{'':13}", *(f"{heading:>10}" for heading in HEADINGS))
    for (name, clients), loads in found.items():
        minimum, rival = found["minimum", clients], found["FastAPI", clients]
        columns = (
            [each.answered for each in loads],
            [each.answered / other.answered for each, other in zip(loads, rival, strict=True)],
            [each.p50 for each in loads],
            [each.p99 for each in loads],
            [each.cpu for each in loads],
            [each.cpu / other.cpu for each, other in zip(loads, minimum, strict=True)],
        )
        shown = (f"{statistics.median(column):10.2f}" for column in columns)
        print(f"{name:13} {clients:10}", *shown, f"{sum(each.wrong for each in loads):10}")


if __name__ == "__main__":
    main()

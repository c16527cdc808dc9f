"""`make simulate`: run histories on every core for a given time, and print the failures."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait

from tests.simulation import seams
from tests.simulation.history import explain, run_batch, run_seed

#: Histories that a process runs between two reports.
_BATCH = 500


def _simulate(minutes: float, processes: int, first: int) -> int:
    end, started = time.monotonic() + 60 * minutes, time.monotonic()
    done, failures = 0, 0
    seeds = itertools.count(first, _BATCH)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        running = {pool.submit(run_batch, next(seeds), _BATCH) for _ in range(processes)}
        while running:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for batch in finished:
                done += _BATCH
                failures += len(batch.result())
                for failure in batch.result():
                    print(failure, "\n")
            if time.monotonic() < end:
                running |= {pool.submit(run_batch, next(seeds), _BATCH) for _ in finished}
            rate = done / (time.monotonic() - started)
            print(f"{done} histories from seed {first}, {rate:.0f}/s, {failures} failed", flush=True)
    return failures


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long to run")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many to use")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="run this one alone and print its trace")
    given = parser.parse_args()
    if given.seed is None:
        return 1 if _simulate(given.minutes, given.processes, given.first) else 0
    with seams.installed():
        outcome = run_seed(given.seed)
        print(explain(outcome) if outcome.problems else "every promise holds")
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())

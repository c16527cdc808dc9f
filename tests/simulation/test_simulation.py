"""The payment code keeps its promises in every history; see docs/testing.md."""

import os
from collections.abc import Iterator

import pytest

from tests.simulation import seams
from tests.simulation.history import explain, run_seed
from tests.simulation.plan import FAULTS

#: Number of histories in every test run.
_HISTORIES = int(os.environ.get("SIMULATE_HISTORIES", "1500"))
_PARTS = 10


@pytest.fixture(autouse=True)
def _simulated() -> Iterator[None]:
    with seams.installed():
        yield


@pytest.mark.parametrize("part", range(_PARTS))
def test_promises_hold_whatever_fails(part: int) -> None:
    for seed in range(part, _HISTORIES, _PARTS):
        outcome = run_seed(seed)
        if outcome.problems:
            pytest.fail(explain(outcome))


def test_same_seed_gives_the_same_history() -> None:
    first, second = run_seed(7), run_seed(7)
    assert first == second


def test_histories_contain_every_kind_of_fault() -> None:
    met: set[str] = set()
    for seed in range(600):
        met |= run_seed(seed).kinds
    missing = {f"{system} {kind}" for system, kinds in FAULTS.items() for kind in kinds} - met
    assert not missing

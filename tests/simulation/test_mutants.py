"""The simulation detects each former defect of the payment code when its fix is removed."""

import pytest

from tests.simulation import seams
from tests.simulation.history import run_seed
from tests.simulation.mutants import MUTANTS

#: Number of histories after which a defect counts as not found; the longest search needed 129.
_MAX_HISTORIES = 3000


@pytest.mark.parametrize("case", MUTANTS)
def test_defect_is_found_when_its_fix_is_removed(case: str) -> None:
    with seams.installed(), MUTANTS[case]():
        assert any(run_seed(seed).problems for seed in range(_MAX_HISTORIES))

"""The simulation finds each defect that the payment side once had, when its fix is taken out."""

import pytest

from tests.simulation import seams
from tests.simulation.history import run_seed
from tests.simulation.mutants import MUTANTS

#: Histories after which a defect counts as not found; the longest search took a tenth of that.
_MOST_HISTORIES = 3000


@pytest.mark.parametrize("case", MUTANTS)
def test_defect_is_found_when_its_fix_is_taken_out(case: str) -> None:
    with seams.installed(), MUTANTS[case]():
        assert any(run_seed(seed).problems for seed in range(_MOST_HISTORIES))

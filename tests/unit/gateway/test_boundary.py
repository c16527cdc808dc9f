"""What every gateway shares names none of them."""

from pathlib import Path

import pytest

import app.gateway
from app.gateway import factory

#: All but the module that chooses.
SHARED = sorted(set(Path(app.gateway.__file__).parent.glob("*.py")) - {Path(factory.__file__)})


@pytest.mark.parametrize("path", SHARED, ids=lambda path: path.name)
def test_the_types_that_the_program_sees_name_no_gateway(path: Path) -> None:
    text = path.read_text().lower()
    assert not [word for word in ("stripe", "paymentintent", "payment_intent", "pm_", "pi_") if word in text]

"""The gateway-independent types name no gateway."""

from pathlib import Path

import pytest

import app.gateway
from app.gateway import factory

#: All modules except the factory.
SHARED = sorted(set(Path(app.gateway.__file__).parent.glob("*.py")) - {Path(factory.__file__)})


@pytest.mark.parametrize("path", SHARED, ids=lambda path: path.name)
def test_gateway_types_name_no_gateway(path: Path) -> None:
    text = path.read_text().lower()
    assert not [word for word in ("stripe", "paymentintent", "payment_intent", "pm_", "pi_") if word in text]

"""Equal documents have the same canonical text."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from app.canonical_json import canonical


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}),
        (25.5, Decimal("25.50")),
        (2500, Decimal("2.5E+3")),
        (0, -0.0),
        (0, Decimal("0.00")),
    ],
)
def test_equal_values_have_the_same_canonical_text(one: Any, other: Any) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, "1"),
        (None, "null"),
        ([1, 2], [2, 1]),
        ({"a": None}, {}),
        (25.5, "25.5"),
        ("é", "e\u0301"),
    ],
)
def test_different_values_have_different_canonical_texts(one: Any, other: Any) -> None:
    assert canonical(one) != canonical(other)

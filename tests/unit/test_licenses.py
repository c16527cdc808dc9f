"""The licenses of what deployments install are known, allowed, and written down."""

from __future__ import annotations

import pytest

from tests.support.licenses import ALLOWED, ROOT, license_of, locked, page, parts


@pytest.mark.parametrize("package", locked())
def test_the_license_is_allowed(package: str) -> None:
    expression = license_of(package)
    assert expression is None or parts(expression) <= ALLOWED, expression


def test_the_page_is_current() -> None:
    rows = (ROOT / "docs/licenses.md").read_text().splitlines()
    for current, written in zip(page().splitlines(), rows, strict=True):
        # A package for other systems, or another Python, is not installed here.
        assert current == written or current.endswith("for other systems only |")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", {"MIT"}),
        ("MIT OR GPL-2.0-only", {"MIT"}),
        ("Apache-2.0 AND GPL-2.0-only", {"Apache-2.0", "GPL-2.0-only"}),
        ("(GPL-2.0-only OR AGPL-3.0-only)", {"GPL-2.0-only OR AGPL-3.0-only"}),
    ],
)
def test_of_alternatives_one_is_enough_and_of_conditions_all(expression: str, expected: set[str]) -> None:
    assert parts(expression) == expected

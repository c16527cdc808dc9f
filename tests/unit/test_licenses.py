"""The licenses of deployed packages are known, allowed, and documented."""

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
        # Packages for other systems or Python versions are not installed here.
        assert current == written or current.endswith("only for other systems or Python versions |")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", {"MIT"}),
        ("MIT OR GPL-2.0-only", {"MIT"}),
        ("Apache-2.0 AND GPL-2.0-only", {"Apache-2.0", "GPL-2.0-only"}),
        ("(GPL-2.0-only OR AGPL-3.0-only)", {"GPL-2.0-only OR AGPL-3.0-only"}),
    ],
)
def test_one_allowed_alternative_is_enough_but_every_condition_must_be_allowed(
    expression: str, expected: set[str]
) -> None:
    assert parts(expression) == expected

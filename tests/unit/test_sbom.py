"""docs/sbom.cdx.json lists what the lock installs."""

from __future__ import annotations

import json

from tests.support.licenses import ROOT, locked
from tests.support.sbom import document


def test_the_stored_sbom_is_current() -> None:
    written, current = json.loads((ROOT / "docs" / "sbom.cdx.json").read_text()), document()
    for own, theirs in zip(current["components"], written["components"], strict=True):
        if "licenses" not in own:  # not installed here: for another system or Python version
            theirs.pop("licenses", None)
    assert written == current, "python -m tests.support.sbom > docs/sbom.cdx.json"


def test_every_locked_package_is_listed_once() -> None:
    names = [component["name"] for component in document()["components"]]
    assert names == locked()

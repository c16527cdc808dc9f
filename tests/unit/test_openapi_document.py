"""docs/openapi.json, from which clients are generated."""

from devtools.openapi import stored
from tests.support.documents import ROOT


def test_the_stored_document_is_current() -> None:
    current = (ROOT / "docs" / "openapi.json").read_text() == stored()
    assert current, "python -m devtools.openapi > docs/openapi.json"

"""Read the documentation for tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: All documentation files.
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/**/*.md")])

_FENCE = re.compile(r"^```(\w+)(?: title=[^\n]*)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples(page: str, *languages: str) -> Iterator[tuple[str, str]]:
    """Return the fenced blocks of a page, in order: language and text."""
    for language, text in _FENCE.findall((ROOT / page).read_text()):
        if language in languages:
            yield language, text

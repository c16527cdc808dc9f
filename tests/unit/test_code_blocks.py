"""Every fenced block of the documentation is run by a test, checked here, or marked as not runnable.

`text` is output or a diagram. `console` is for commands that need a cluster, an account, or the reader's own
server, which no test has.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.support.documents import ROOT

#: Page → the test that runs its blocks or compares them.
RUN_BY = {
    "README.md": "tests/e2e/test_dev.py",
    "CONTRIBUTING.md": "tests/e2e/test_contributing.py",
    "docs/api.md": "tests/e2e/test_guides.py",
    "docs/clients.md": "tests/e2e/test_clients.py",
    "docs/metrics.md": "tests/unit/test_monitoring.py",
}

_NOT_RUN = ("text", "console")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*$")
_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    page: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    """Yield the blocks of pages that no test runs. tests/e2e/test_tutorials.py runs the tutorials."""
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))):
        page = str(path.relative_to(ROOT))
        if page in RUN_BY or path.parent.name == "tutorials":
            continue
        for _, info, text in _FENCE.findall(path.read_text()):
            yield Block(page, info.partition(" ")[0], text)


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def is_checked_command(line: str) -> bool:
    """Return whether tests check a line of a shell block.

    `test_documented_commands` checks commands of movieapp. A target of make has to exist.
    """
    words = shlex.split(line, comments=True)
    while words and _ASSIGNMENT.match(words[0]):
        words = words[1:]
    if not words or words[0] == "movieapp":
        return True
    return words[0] == "make" and words[1:2] != [] and words[1] in targets()


def fault_in(block: Block) -> str | None:
    """Return why a block is neither checked nor marked; None if it is."""
    if block.language in _NOT_RUN:
        return None
    if block.language == "sh":
        lines = re.sub(r"\\\n\s*", " ", block.text).splitlines()
        unchecked = [line.strip() for line in lines if not is_checked_command(line)]
        return f"no test runs {unchecked[0]!r}: mark the block as console" if unchecked else None
    if block.language == "json":
        json.loads(block.text)
    elif block.language == "yaml":
        list(yaml.safe_load_all(block.text))
    elif block.language == "csv":
        rows = list(csv.reader(line.strip() for line in block.text.splitlines()))
        assert len({len(row) for row in rows}) == 1
    else:
        return f"no test runs {block.language or 'a block without a language'}"
    return None


def test_every_block_is_checked_or_marked() -> None:
    found = list(blocks())
    assert len(found) > 100
    assert [f"{block.page}: {fault}" for block in found if (fault := fault_in(block))] == []


@pytest.mark.parametrize(("page", "test"), RUN_BY.items())
def test_the_tests_that_run_pages_name_them(page: str, test: str) -> None:
    assert Path(page).name in (ROOT / test).read_text()


@pytest.mark.parametrize(
    ("language", "text"),
    [("sh", "docker compose up\n"), ("sh", "make everything\n"), ("", "a diagram\n"), ("python", "1\n")],
)
def test_an_unmarked_block_is_noticed(language: str, text: str) -> None:
    assert fault_in(Block("docs/page.md", language, text))

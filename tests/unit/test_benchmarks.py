"""The documented benchmarks exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from benchmarks.__main__ import PARTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("part", PARTS)
def test_each_part_can_be_run_by_name(part: str) -> None:
    module = importlib.import_module(f"benchmarks.{part}")
    assert callable(module.main)


def test_the_documented_parts_exist() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.py")]
    named = [set(re.findall(r'PARTS="?([\w ]+)', page.read_text())) for page in pages]
    words = {word for found in named for words in found for word in words.split()}
    assert {"payments", "notifications", "growth"} <= words <= PARTS.keys()

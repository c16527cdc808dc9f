"""The documentation: links have targets, named tests exist, and lists are complete."""

from __future__ import annotations

import ast
import configparser
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.documents import PAGES, ROOT

_LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?(?:\[[^\]]*\])?`")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub generates them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[str]:
    for target in _LINK.findall(_CODE.sub("", page.read_text())):
        if not re.match(r"[a-z]+:", target):
            yield target


def _targets(page: Path) -> set[Path]:
    return {(page.parent / link.partition("#")[0]).resolve() for link in links(page)}


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_have_existing_targets(page: Path) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_tests_exist(page: Path) -> None:
    for path, function in _TEST.findall(page.read_text()):
        assert (ROOT / path).is_file(), path
        assert not function or function in functions(ROOT / path), f"{path}::{function}"


def test_every_threat_has_a_test() -> None:
    threats = (ROOT / "docs/security.md").read_text().partition("## Threats")[2]
    rows = [line for line in threats.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    assert [row for row in rows if not _TEST.search(row)] == []


def test_every_dependency_is_justified() -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].splitlines()
    expected = {re.split(r"[<>=!~\[]", line)[0] for line in lines if line and not line.startswith("#")}
    rows = re.findall(
        r"^\| ([\w.-]+) \| [^|]+ \| [^|]+ \|$", (ROOT / "docs/dependencies.md").read_text(), re.M
    )
    assert set(rows) - {"package"} == expected


def test_the_readme_is_short_and_links_to_the_docs() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) < 200
    reached = _targets(ROOT / "README.md")
    pages = {page for page in PAGES if page.parent == ROOT / "docs"}
    from_there = {link for page in reached & set(PAGES) for link in _targets(page)}
    assert pages - reached - from_there == set()


def test_ci_and_hooks_run_the_documented_checks() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert ".ci/run" in workflow["jobs"]["ci"]["steps"][-1]["run"]
    makefile = (ROOT / "Makefile").read_text()
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]:
        for hook in repository["hooks"]:
            tool = hook["entry"].split()[0].removeprefix(".venv/bin/")
            assert f"$(BIN)/{tool}" in makefile

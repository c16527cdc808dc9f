"""The CI workflows: pinned actions, covered versions, and release scripts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.documents import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_valid_and_pins_its_actions_by_commit(path: Path) -> None:
    check = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        str(path),
    ]
    subprocess.run(check, check=True, capture_output=True)
    used = re.findall(r"uses: (.+)", path.read_text())
    assert used
    for each in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_write_only_where_a_job_says_so(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}


def test_every_supported_version_is_tested() -> None:
    jobs: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    rows = jobs["servers"]["strategy"]["matrix"]["include"]
    assert {row["python"] for row in rows} == {"3.11", "3.12", "3.13", "3.14"}
    assert {row["mongodb"] for row in rows} == {"mongo:6", "mongo:7", "mongo:8"}
    assert {row["redis"] for row in rows} == {"redis:7", "valkey/valkey:8"}
    versions = {row["rabbitmq"].removeprefix("rabbitmq:") for row in rows}
    assert "3.13" in versions
    assert any(version.startswith("4.") for version in versions)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "release-notes", tmp_path / ".ci")
    (tmp_path / "setup.cfg").write_text("[metadata]\nversion = 1.2.3\n")
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n- later\n\n## [1.2.3] - 2026-12-01\n\n- now\n\n"
        "## [1.2.0] - 2026-11-01\n\n- before\n"
    )
    return tmp_path


def notes(checkout: Path, version: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / ".ci" / "release-notes", version], capture_output=True, text=True, check=False
    )


def test_release_notes_are_the_section_of_that_version(checkout: Path) -> None:
    assert notes(checkout, "1.2.3").stdout.strip() == "- now"


@pytest.mark.parametrize("version", ["1.2.0", "1.2", "1.2.4"])
def test_a_tag_that_differs_from_the_package_version_is_refused(checkout: Path, version: str) -> None:
    done = notes(checkout, version)
    assert done.returncode == 1
    assert "setup.cfg has another version" in done.stderr


def test_the_changelog_has_a_section_for_this_version() -> None:
    (version,) = re.findall(r"^version = (.+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert notes(ROOT, version).stdout.strip()

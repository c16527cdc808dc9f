"""Follow the first change of CONTRIBUTING.md literally in a clone."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.support.documents import ROOT
from tests.support.venvs import link_venv

PAGE = (ROOT / "CONTRIBUTING.md").read_text()

#: Commands not run: this checkout is already cloned and has an environment, and the linters run separately.
_NOT_RUN = re.compile(r"^(git clone .*|cd movieapp|make install|make format|make lint)\n", re.MULTILINE)

IDENTITY = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "New Contributor"), ("EMAIL", "new@example.com"))
}


def test_the_guides_first_change_works(tmp_path: Path) -> None:
    clone = tmp_path / "movieapp"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=False, capture_output=True)
    if tracked.returncode:
        pytest.skip("not a Git checkout")
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", clone], check=True)
    link_venv(clone / ".venv")
    (clone / ".venv" / "installed").touch()
    (section,) = re.findall(r"^## Your first change\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    blocks = [textwrap.dedent(text) for text in re.findall(r"^ +```sh\n(.*?)^ +```", section, re.M | re.S)]
    ended = []
    for text in blocks:
        if commands := _NOT_RUN.sub("", text):
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", commands],
                cwd=clone,
                env=os.environ | IDENTITY | {"TEST_PROCESSES": "0"},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            ended.append((commands, done.returncode == 0, done.stdout + done.stderr))
    failed = [(commands, printed) for commands, good, printed in ended if not good]
    assert len(failed) == 1, failed
    assert failed[0][0].startswith("make test")
    assert "1 failed" in failed[0][1]
    assert any(good and "1 passed" in printed for _, good, printed in ended)
    log = subprocess.run(
        ["git", "show", "--stat", "--format=%s"], cwd=clone, check=True, capture_output=True, text=True
    ).stdout
    assert "Name Elo cards in mails" in log
    assert "2 files changed" in log


def test_every_make_target_that_the_guide_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)", PAGE))
    assert named
    assert named <= targets

"""Node and its packages."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def node(lacking: Callable[[str], None]) -> str:
    found = shutil.which("node")
    if found is None:
        lacking("Node: it is not installed (Debian: apt-get install nodejs)")
    assert found
    return found


@pytest.fixture(scope="session")
def npm_install(
    node: str, lacking: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """Installs a package from the npm registry, and returns the folder whose node_modules contains it."""

    def install(name: str, versions: str) -> Path:
        folder = tmp_path_factory.mktemp("node")
        (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": {name: versions}}))
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as error:
            lacking(f"{name}: npm can't install it ({type(error).__name__})")
        return folder

    return install

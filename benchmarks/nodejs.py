"""Serve the rival in Node: python -m benchmarks.nodejs 127.0.0.1:8000"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from benchmarks.harness import ROOT

_RIVAL = ROOT / "benchmarks/node"

#: Where its packages are installed.
_INSTALLED = ROOT / "build/benchmarks/node"


def install() -> None:
    """Install the packages of the rival from the npm registry, if they are not installed."""
    if not shutil.which("npm"):
        raise SystemExit("npm is not installed (Debian: apt-get install nodejs npm)")
    _INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "rival.js"):
        shutil.copy(_RIVAL / name, _INSTALLED)
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
    subprocess.run(command, cwd=_INSTALLED, check=True)


if __name__ == "__main__":
    address, port = sys.argv[1].split(":")
    os.execvp("node", ["node", str(_INSTALLED / "rival.js"), address, port])  # noqa: S606, S607

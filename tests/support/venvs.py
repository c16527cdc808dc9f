"""Provide this environment under another path, for guides that create one."""

from __future__ import annotations

import sys
from pathlib import Path


def link_venv(folder: Path) -> None:
    """Make `folder` look like a virtual environment with the packages of this one."""
    folder.mkdir(parents=True)
    here = Path(sys.prefix)
    for name in ("bin", "lib", "pyvenv.cfg"):
        if (here / name).exists():
            (folder / name).symlink_to(here / name)

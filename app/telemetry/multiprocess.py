"""Metrics of several processes as one: prometheus_client keeps each one's numbers in files of a directory.

https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

#: The variable that prometheus_client reads when it is imported.
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


def begin() -> Path:
    """Make a new directory, for this process and those that it starts.

    To be called before anything imports prometheus_client. An earlier one, as of a server that this one
    replaces, is left to whoever made it.
    """
    directory = Path(tempfile.mkdtemp(prefix="movieapp-metrics-"))
    os.environ[DIRECTORY] = str(directory)
    return directory


def end(directory: Path) -> None:
    """Remove what `begin` made."""
    shutil.rmtree(directory, ignore_errors=True)


def process_ended(pid: int) -> None:
    """Forget the gauges of a process that is gone; what it has counted stays counted."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]

"""Metrics across processes: prometheus_client keeps the values of each process in files of a directory.

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
    """Create the directory, for this process and its children.

    Call this before anything imports prometheus_client. An existing directory, for example of a server that
    this one replaces, is left unchanged.
    """
    directory = Path(tempfile.mkdtemp(prefix="movieapp-metrics-"))
    os.environ[DIRECTORY] = str(directory)
    return directory


def end(directory: Path) -> None:
    """Remove the directory."""
    shutil.rmtree(directory, ignore_errors=True)


def process_ended(pid: int) -> None:
    """Remove the gauges of a process that ended. Its counters stay."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]

"""Kill the processes of a test run that was itself killed or lost its terminal.

`processes` starts it, and writes to it `+PGID` for each process group that starts and `-PGID` for each that
has ended. The end of input means that the run is over, for any reason. Signal handlers, `atexit`, and
parent-death signals (which Linux sends when the parent's *thread* ends) are less reliable.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

#: Seconds between SIGTERM and SIGKILL.
_GRACE_SECONDS = 5


def reap(lines: Iterable[str]) -> None:
    """Read `lines` to the end, then kill the remaining process groups."""
    groups: set[int] = set()
    for line in lines:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    groups = {group for group in groups if _signal(group, signal.SIGTERM)}
    deadline = time.monotonic() + _GRACE_SECONDS
    while groups and time.monotonic() < deadline:
        time.sleep(0.1)
        groups = {group for group in groups if _signal(group, 0)}
    for group in groups:
        _signal(group, signal.SIGKILL)


def _signal(group: int, signum: int) -> bool:
    """Signal a process group. Return whether it had any process left."""
    try:
        os.killpg(group, signum)
    except (ProcessLookupError, PermissionError):  # macOS: not permitted where only zombies are left
        return False
    return True


if __name__ == "__main__":
    reap(sys.stdin)

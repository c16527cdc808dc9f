"""Choose free ports."""

from __future__ import annotations

import itertools
import os
import random
import socket

from devtools.stack.ports import is_free

#: Below the ephemeral ports (Linux from 32768, macOS from 49152). A client that retries a stopped server's
#: ephemeral port could be assigned that port, and the server could not restart. Each pytest-xdist process has
#: its own range, because a server binds its port a second after it was chosen. Until then, another test must
#: not choose it.
_PART = 1_000
_PARTS = range(15_000, 32_000, _PART)
_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw-1").removeprefix("gw"))
_FIRST = _PARTS[(_NUMBER + 1) % len(_PARTS)]
_candidates = itertools.cycle(random.sample(range(_FIRST, _FIRST + _PART), _PART))


def free_port() -> int:
    """Return a free port of 127.0.0.1, which is not returned again soon."""
    return next(port for port in _candidates if is_free(port))


def listens(port: int) -> bool:
    """Return whether a server accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0

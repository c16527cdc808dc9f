"""Ports that nothing listens on."""

from __future__ import annotations

import itertools
import os
import random
import socket

from devtools.stack.ports import is_free

#: Below what systems give to outgoing connections (Linux from 32768, macOS from 49152). Above it, a client
#: that keeps knocking at a stopped server's port may be given that very port, and the server can't come back.
#: Each process of pytest-xdist, and the one that leads them, has a part of its own: a server binds its port a
#: second after it was chosen, and two tests may not choose the same in between.
_PART = 1_000
_PARTS = range(15_000, 32_000, _PART)
_NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw-1").removeprefix("gw"))
_FIRST = _PARTS[(_NUMBER + 1) % len(_PARTS)]
_candidates = itertools.cycle(random.sample(range(_FIRST, _FIRST + _PART), _PART))


def free_port() -> int:
    """A port of 127.0.0.1 that is free now; the same one does not come again soon."""
    return next(port for port in _candidates if is_free(port))


def listens(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0

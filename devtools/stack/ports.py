"""Find free ports."""

from __future__ import annotations

import socket


def is_free(port: int) -> bool:
    """Return whether a server can bind that port of 127.0.0.1."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

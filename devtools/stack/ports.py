"""Ports that nothing listens on."""

from __future__ import annotations

import socket


def is_free(port: int) -> bool:
    """Whether a server can have that port of 127.0.0.1."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

"""Ports that nothing listens on."""

from __future__ import annotations

import secrets
import socket

#: Below what systems give to outgoing connections (Linux from 32768, macOS from 49152). Above it, a client
#: that keeps knocking at a stopped server's port may be given that very port, and the server can't come back.
_PORTS = range(15_000, 32_000)


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def listens(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0

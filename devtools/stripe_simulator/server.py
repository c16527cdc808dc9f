"""The HTTP server: gunicorn, one process with many threads, which ends within two seconds."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import click
from flask import Flask
from gunicorn.app.base import BaseApplication

#: `prctl` option: a signal for this process when its parent dies (Linux).
_PR_SET_PDEATHSIG = 1

_OPTIONS: dict[str, Any] = {
    # One process: faults, the clock and running idempotency keys live in its memory.
    "workers": 1,
    "worker_class": "gthread",
    # More than anybody has payments in flight: it waits for those who asked for a delay.
    "threads": 256,
    "keepalive": 75,
    # No limit on a request: delays are asked for.
    "timeout": 0,
    # A request that is delayed on demand must not delay the end.
    "graceful_timeout": 1,
    "loglevel": "critical",
    # Else gunicorn 25 and later leave a socket file.
    "control_socket_disable": True,
}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. gunicorn alone would try for five seconds, and say so five times.

    Raises:
        OSError: the address is taken, unknown or not ours.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family)
    try:
        # A port whose last connections are still in TIME_WAIT is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError:
        listener.close()
        raise
    return listener


class Server(BaseApplication):  # type: ignore[misc] # gunicorn ships no types
    """gunicorn on a socket that listens already.

    Args:
        listener: taken over.
        make_app: called in the worker process.
    """

    def __init__(self, listener: socket.socket, make_app: Callable[[], Flask]) -> None:
        host, port = listener.getsockname()[:2]
        self._ready_line = (
            f"The Stripe simulator listens on http://{f'[{host}]' if ':' in host else host}:{port}"
        )
        self._fd = listener.detach()
        self._make_app = make_app
        super().__init__()

    def load_config(self) -> None:
        options = _OPTIONS | {
            "bind": f"fd://{self._fd}",
            "post_fork": _die_with_parent,
            "post_worker_init": lambda _worker: click.echo(self._ready_line),
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        return self._make_app()


def _die_with_parent(_arbiter: Any, worker: Any) -> None:
    """Run in the worker: a killed parent leaves nobody behind who still holds the port."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != worker.ppid:  # it died before the line above
            os.kill(os.getpid(), signal.SIGKILL)

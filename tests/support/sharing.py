"""Share one set of servers among all workers of pytest-xdist.

A worker may end long before the others, so none of them can own a shared server. The process that started the
workers owns the servers, and workers request them from it. A run that needs no server starts none.
"""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
from dataclasses import asdict
from pathlib import Path

from tests.support.services import Service, Services


class _Question(socketserver.StreamRequestHandler):
    """Protocol: a line with a server's name; the reply is its `Service` as JSON."""

    server: Desk

    def handle(self) -> None:
        name = self.rfile.readline().decode().strip()
        service = self.server.services.find(name)
        with contextlib.suppress(BrokenPipeError):  # an interrupted worker is no longer waiting
            self.wfile.write(json.dumps(asdict(service)).encode())


class Desk(socketserver.ThreadingUnixStreamServer):
    """Serves requests of workers, each in its own thread, so that starting RabbitMQ does not delay Redis.

    Args:
        services: the servers that workers request.
        address: path of the socket to create.
    """

    daemon_threads = True

    def __init__(self, services: Services, address: Path) -> None:
        self.services = services
        super().__init__(str(address), _Question)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Stop serving requests."""
        self.shutdown()
        self.server_close()


class RemoteServices:
    """`Services` for a worker.

    Args:
        address: the `Desk`'s.
    """

    def __init__(self, address: Path) -> None:
        self._address = address

    def find(self, name: str) -> Service:
        """Request one of the servers in `services.FIND`."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._address))
            connection.sendall(f"{name}\n".encode())
            with connection.makefile("rb") as response:
                return Service(**json.load(response))

"""Connections whose timeouts limit a whole step instead of each part of it.

urllib3 applies the connect timeout to every address of a host and again to the TLS handshake, and the read
timeout to every piece of a response. An unreachable host with six addresses, or a response that arrives
slowly, would exceed a call's time budget many times over. Name resolution is not bounded here: it has the
system's own timeouts (resolv.conf), and connections are kept open.
"""

from __future__ import annotations

import http.client
import io
import socket
import struct
import time
from typing import Any

from urllib3 import PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

#: Small requests are sent without delay. When the socket is closed, the kernel drops unacknowledged data;
#: without SO_LINGER it would retransmit for minutes. https://man7.org/linux/man-pages/man7/socket.7.html
_SOCKET_OPTIONS = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
)


class _TimedReader(io.RawIOBase):
    """A reader of a socket with a deadline (monotonic clock, seconds)."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        # Replace the socket's file too, because it stays open until the response is read.
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("The payment gateway's response was not complete within the read timeout.")
        self._sock.settimeout(remaining)
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _TimedSocket:
    """The part of a socket that `http.client.HTTPResponse` uses: it makes the file to read."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def makefile(self, _mode: str) -> io.BufferedReader:
        seconds = self._sock.gettimeout() or 0.0
        return io.BufferedReader(_TimedReader(self._sock, time.monotonic() + seconds))


class _TimedResponse(http.client.HTTPResponse):
    """A response that must be complete within the socket's timeout."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(_TimedSocket(sock), *args, **options)  # type: ignore[arg-type]


class _TimedConnection(HTTPConnection):
    """A connection whose connect timeout includes TLS and every address."""

    response_class = _TimedResponse

    def _new_conn(self) -> socket.socket:
        deadline = time.monotonic() + float(self.timeout or 0)
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        failure: OSError = OSError("no address")
        for number, (family, kind, protocol, _, address) in enumerate(addresses):
            remaining = deadline - time.monotonic()
            sock = socket.socket(family, kind, protocol)
            try:
                for option in _SOCKET_OPTIONS:
                    sock.setsockopt(*option)
                # An equal share of what is left, so that one unreachable address leaves time for the next.
                sock.settimeout(max(remaining / (len(addresses) - number), 0.001))
                sock.connect(address)
                # The remaining time is for TLS.
                sock.settimeout(max(deadline - time.monotonic(), 0.001))
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(
                self, f"Connecting to {self.host} exceeded the connect timeout."
            ) from failure
        raise NewConnectionError(self, f"Connecting to {self.host} failed: {failure}") from failure


class _TimedTLSConnection(_TimedConnection, HTTPSConnection):
    """A `_TimedConnection` over TLS."""


class _TimedPool(HTTPConnectionPool):
    ConnectionCls = _TimedConnection


class _TimedTLSPool(HTTPSConnectionPool):
    ConnectionCls = _TimedTLSConnection


def timed_pool(proxy: str | None, **options: Any) -> PoolManager:
    """Return a pool of timed connections, through a proxy if there is one.

    Args:
        proxy: URL of the proxy.
        options: passed to `urllib3.PoolManager`.
    """
    pool = ProxyManager(proxy, **options) if proxy else PoolManager(**options)
    pool.pool_classes_by_scheme = {"http": _TimedPool, "https": _TimedTLSPool}
    return pool

"""TCP and TLS to an SMTP server: every address of the host in order, the one that worked last first."""

from __future__ import annotations

import smtplib
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.channels.email.server import Server

#: Seconds for an address while there are others: a black-holed IPv6 must not take the time of all.
_ADDRESS_SECONDS = 3.0


class Connection(smtplib.SMTP):
    """smtplib's connection, which opens the socket itself.

    Args:
        server: where to.

    Attributes:
        connected: whether TCP, and TLS from the start, stood once.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.connected = False
        super().__init__(local_hostname=server.ehlo_name)

    def open(self, timeout: float) -> None:
        """Connect and read the greeting.

        Args:
            timeout: seconds for connecting, and again for the greeting.

        Raises:
            smtplib.SMTPException, OSError, UnicodeError: not connected, or not greeted with 220.
        """
        self.timeout = timeout
        self._host = self._server.host  # STARTTLS checks the certificate's name against it
        self.command_encoding = "utf-8"  # for SMTPUTF8; all else is ASCII
        code, message = self.connect(self._server.host, self._server.port)
        if code != 220:
            self.close()
            raise smtplib.SMTPConnectError(code, message)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock = _connected(self._server, timeout)
        if self._server.security == "ssl":
            try:
                sock = self._server.tls.wrap_socket(sock, server_hostname=host)
            except BaseException:
                sock.close()
                raise
        self.connected = True
        return sock


def _connected(server: Server, timeout: float) -> socket.socket:
    found: list[Any] = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    # Stable: the others keep the order in which the resolver prefers them (RFC 6724).
    found.sort(key=lambda each: each[4] != server.learned.address)
    deadline = time.monotonic() + timeout
    for number, (family, kind, protocol, _, address) in enumerate(found, 1):
        left = max(0.05, deadline - time.monotonic())
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(left if number == len(found) else min(left, _ADDRESS_SECONDS))
            sock.connect(address)
        except OSError:
            sock.close()
            if number == len(found):
                raise
        else:
            server.learned.address = address
            sock.settimeout(timeout)
            return sock
    raise OSError(f"{server.host} has no address")


def misconfigured(server: Server, error: Exception, *, connected: bool) -> str:
    """Return the advice for a port and a security that do not belong together; empty for another error.

    Args:
        server: whose port it is.
        error: what happened.
        connected: whether the TCP connection stood.
    """
    if (
        server.security == "ssl"
        and isinstance(error, ssl.SSLError)
        and error.reason == "WRONG_VERSION_NUMBER"
    ):
        return "The server does not speak TLS from the start: set SMTP_SECURITY=starttls, or SMTP_PORT=465"
    if server.security != "ssl" and server.port == 465 and connected:
        return "Port 465 expects TLS from the start: set SMTP_SECURITY=ssl, or SMTP_PORT=587"
    return ""

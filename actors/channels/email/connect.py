"""TCP and TLS to an SMTP server: try every address of the host, the last working one first."""

from __future__ import annotations

import smtplib
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from actors.channels.email.server import Server

#: Maximum seconds for an address if there are others, so that an unreachable IPv6 address does not use up the
#: whole timeout.
_ADDRESS_SECONDS = 3.0


class Connection(smtplib.SMTP):
    """smtplib's SMTP, with its own code to open the socket.

    Args:
        server: the server.

    Attributes:
        connected: whether TCP (and implicit TLS) was established.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.connected = False
        super().__init__(local_hostname=server.ehlo_name)

    def open(self, timeout: float) -> None:
        """Connect and read the greeting.

        Args:
            timeout: seconds for connecting, and for the greeting.

        Raises:
            smtplib.SMTPException, OSError, UnicodeError: the connection failed, or the greeting is not 220.
        """
        self.timeout = timeout
        self._host = self._server.host  # STARTTLS checks the certificate's name against it
        self.command_encoding = "utf-8"  # for SMTPUTF8; everything else is ASCII
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
    # Stable, so that the others keep the resolver's order of preference (RFC 6724).
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
    raise OSError(f"the host name {server.host} does not resolve to an IP address")


def misconfigured(server: Server, error: Exception, *, connected: bool) -> str:
    """Return advice if the port and SMTP_SECURITY do not match; empty for other errors.

    Args:
        server: the server.
        error: the failure.
        connected: whether TCP was established.
    """
    if (
        server.security == "ssl"
        and isinstance(error, ssl.SSLError)
        and error.reason == "WRONG_VERSION_NUMBER"
    ):
        return "set SMTP_SECURITY=starttls, or SMTP_PORT=465, because this port does not use implicit TLS"
    if server.security != "ssl" and server.port == 465 and connected:
        return "set SMTP_SECURITY=ssl, or SMTP_PORT=587, because port 465 requires implicit TLS"
    return ""

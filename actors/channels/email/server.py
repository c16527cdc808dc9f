"""The SMTP servers that the settings name, and what connections have learned about them."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from app.settings import Settings

#: Default port of each `SMTP_SECURITY` (RFC 8314, 3.3; RFC 6409, 3.1).
_PORTS = {"ssl": 465, "starttls": 587, "none": 25}


@dataclass
class Learned:
    """What earlier connections have shown about a server. Shared by all threads; each field is set at once.

    Attributes:
        address: the socket address that accepted a connection last.
        pipelining: whether it replies to each of several commands sent together (RFC 2920).
    """

    address: Any = None
    pipelining: bool = True


@dataclass(frozen=True)
class Server:
    """Where and how to connect.

    The longest one mail can take follows from `timeout`, and is what a delivery's lease is made from.

    Attributes:
        relay: `primary` or `fallback`.
        security: `starttls`, `ssl` or `none`.
        ehlo_name: what we call ourselves in EHLO.
        username: empty: no AUTH.
        auth: `auto`, or the one mechanism to use.
        timeout: seconds for each command.
        tls: verifies certificate and host name.
        oauth: None, or where access tokens come from.
    """

    host: str
    port: int
    security: str
    username: str
    password: str = field(repr=False)
    timeout: float
    tls: ssl.SSLContext
    ehlo_name: str = "localhost"
    auth: str = "auto"
    oauth: TokenEndpoint | None = field(default=None, repr=False)
    relay: str = "primary"
    learned: Learned = field(default_factory=Learned, repr=False, compare=False)

    @property
    def address(self) -> str:
        """`host:port`, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def longest_to_data(self) -> float:
        """Seconds from the start to the end of DATA, connecting included, at most."""
        return 4 * self.timeout

    @property
    def longest_after_data(self) -> float:
        """Seconds to wait for the reply to a whole mail.

        More than for other replies: servers scan it first, and a reply that we do not wait for makes doubles
        (RFC 5321, 4.5.3.2.6; RFC 1047).
        """
        return 3 * self.timeout

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The server that SMTP_SERVER names."""
        return cls(
            host=settings.smtp_server.strip("[]"),
            port=settings.smtp_port,
            security=settings.smtp_security,
            username=settings.smtp_username,
            password=settings.smtp_password.get_secret_value(),
            timeout=settings.smtp_timeout,
            tls=ssl.create_default_context(cafile=settings.smtp_ca_file),
            ehlo_name=settings.smtp_ehlo_name or default_ehlo_name(settings.from_email),
            auth=settings.smtp_auth,
            oauth=TokenEndpoint.of(settings),
        )

    @classmethod
    def fallback(cls, settings: Settings) -> Self | None:
        """The server that SMTP_FALLBACK_URL names, if it is set."""
        url = settings.smtp_fallback_url.get_secret_value()
        if not url:
            return None
        parts = urlsplit(url)
        chosen = parse_qs(parts.query).get("security", ["starttls"])[0]
        security = "ssl" if parts.scheme == "smtps" else chosen
        return cls(
            host=parts.hostname or "",
            port=parts.port or _PORTS[security],
            security=security,
            username=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            timeout=settings.smtp_timeout,
            tls=ssl.create_default_context(cafile=settings.smtp_ca_file),
            ehlo_name=settings.smtp_ehlo_name or default_ehlo_name(settings.from_email),
            relay="fallback",
        )

    @classmethod
    def all(cls, settings: Settings) -> list[Self]:
        """The primary server, then the fallback, if there is one."""
        fallback = cls.fallback(settings)
        return [cls.of(settings), *([fallback] if fallback else [])]


@dataclass(frozen=True)
class TokenEndpoint:
    """Where OAuth 2.0 access tokens come from. A refresh token, if there is one, is the SMTP password."""

    url: str
    client_id: str
    client_secret: str
    scope: str

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """What SMTP_OAUTH2_… name; None unless SMTP_AUTH is xoauth2."""
        if settings.smtp_auth != "xoauth2":
            return None
        return cls(
            settings.smtp_oauth2_token_url,
            settings.smtp_oauth2_client_id,
            settings.smtp_oauth2_client_secret.get_secret_value(),
            settings.smtp_oauth2_scope,
        )


def default_ehlo_name(from_email: str) -> str:
    """This host's fully qualified name, if it has one; else the sender's domain.

    A bare name such as a container's id is refused by servers that check it (Postfix:
    reject_non_fqdn_helo_hostname).
    """
    name = socket.getfqdn().rstrip(".")
    labels = name.split(".")
    qualified = len(labels) > 1 and not labels[-1].isdigit() and not name.endswith(("localdomain", ".arpa"))
    return name if qualified and name.isascii() else from_email.rpartition("@")[2]

"""The configured SMTP servers, and the properties that connections discover."""

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
    """Properties of a server that earlier connections discovered. Shared by all threads; each field is set
    atomically.

    Attributes:
        address: the socket address of the last connection.
        pipelining: whether it handles PIPELINING correctly (RFC 2920).
    """

    address: Any = None
    pipelining: bool = True


@dataclass(frozen=True)
class Server:
    """Address and login of an SMTP server.

    `timeout` determines the longest duration of a mail, and thereby a delivery's lease.

    Attributes:
        relay: `primary` or `fallback`.
        security: `starttls`, `ssl` or `none`.
        ehlo_name: our name in EHLO.
        username: empty for no AUTH.
        auth: `auto`, or a mechanism.
        timeout: seconds for each command.
        tls: verifies certificate and host name.
        oauth: token endpoint, or None.
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
        """Return `host:port`, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def longest_to_data(self) -> float:
        """Return the longest time to the end of DATA, including connecting, in seconds."""
        return 4 * self.timeout

    @property
    def longest_after_data(self) -> float:
        """Return the seconds to wait for the reply to the end of DATA.

        Longer than for other replies, because servers scan the mail first, and giving up early causes
        duplicates (RFC 5321, 4.5.3.2.6; RFC 1047).
        """
        return 3 * self.timeout

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the server of SMTP_SERVER."""
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
        """Return the server of SMTP_FALLBACK_URL, or None."""
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
        """Return the primary server, then the fallback, if there is one."""
        fallback = cls.fallback(settings)
        return [cls.of(settings), *([fallback] if fallback else [])]


@dataclass(frozen=True)
class TokenEndpoint:
    """An endpoint for OAuth 2.0 access tokens. The SMTP password is the refresh token, if any."""

    url: str
    client_id: str
    client_secret: str
    scope: str

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return the endpoint of SMTP_OAUTH2_…; None unless SMTP_AUTH is xoauth2."""
        if settings.smtp_auth != "xoauth2":
            return None
        return cls(
            settings.smtp_oauth2_token_url,
            settings.smtp_oauth2_client_id,
            settings.smtp_oauth2_client_secret.get_secret_value(),
            settings.smtp_oauth2_scope,
        )


def default_ehlo_name(from_email: str) -> str:
    """Return this host's fully qualified name, or the sender's domain if it has none.

    Some servers refuse a bare name such as a container's id (Postfix: reject_non_fqdn_helo_hostname).
    """
    name = socket.getfqdn().rstrip(".")
    labels = name.split(".")
    qualified = len(labels) > 1 and not labels[-1].isdigit() and not name.endswith(("localdomain", ".arpa"))
    return name if qualified and name.isascii() else from_email.rpartition("@")[2]

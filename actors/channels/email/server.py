"""Which SMTP server to use, and how."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from app.settings import Settings


@dataclass(frozen=True)
class Server:
    """Where and how to connect.

    The longest one mail can take follows from `timeout`, and is what a delivery's lease is made from.

    Attributes:
        security: `starttls`, `ssl` or `none`.
        username: empty: no AUTH.
        timeout: seconds for each command.
        tls: verifies certificate and host name.
    """

    host: str
    port: int
    security: str
    username: str
    password: str = field(repr=False)
    timeout: float
    tls: ssl.SSLContext

    @property
    def longest_to_data(self) -> float:
        """Seconds from the start to the end of DATA, connecting included, at most."""
        return 4 * self.timeout

    @property
    def longest_after_data(self) -> float:
        """Seconds to wait for the reply to a whole mail.

        More than for other replies: servers scan it first, and giving up on an answer that would have come is
        what makes doubles (RFC 5321, 4.5.3.2.6; RFC 1047).
        """
        return 3 * self.timeout

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The server that `settings` name."""
        return cls(
            host=settings.smtp_server,
            port=settings.smtp_port,
            security=settings.smtp_security,
            username=settings.smtp_username,
            password=settings.smtp_password.get_secret_value(),
            timeout=settings.smtp_timeout,
            tls=ssl.create_default_context(cafile=settings.smtp_ca_file),
        )

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

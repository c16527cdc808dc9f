"""SMTP AUTH (RFC 4954). smtplib's own fails on passwords outside ASCII, and lacks XOAUTH2."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from actors.channels.email.errors import AuthenticationFailed, smtp_error
from actors.channels.email.oauth import access_token
from actors.channels.email.replies import Phase, Reply, failure

if TYPE_CHECKING:
    from actors.channels.email.server import Server

#: Sends one line and returns the server's reply.
SendCommand = Callable[[str], tuple[int, bytes]]

#: The mechanisms that `auto` chooses from, best first. Only one is tried, because three consecutive failures
#: lock accounts.
_AUTOMATIC = ("plain", "login", "cram-md5")

_CONTINUE, _ACCEPTED = 334, 235


def log_in(server: Server, offered: list[str], send_command: SendCommand) -> None:
    """Log in with a mechanism that both the settings and the server allow.

    Args:
        server: the server, with the login.
        offered: the mechanisms in its EHLO reply.
        send_command: sends one line.

    Raises:
        DeliveryError: the login failed.
    """
    mechanisms = _AUTOMATIC if server.auth == "auto" else (server.auth,)
    mechanism = next((name for name in mechanisms if name in map(str.lower, offered)), None)
    if mechanism is None:
        raise smtp_error(
            AuthenticationFailed,
            Phase.AUTH,
            None,
            f"SMTP_AUTH is {server.auth}, but {server.address} offers {' '.join(offered) or 'no AUTH'}",
            "check SMTP_AUTH and SMTP_SECURITY",
        )
    reply = _exchange(mechanism, server, send_command)
    if reply.code != _ACCEPTED and mechanism == "xoauth2" and server.oauth:
        # A token may be revoked before it expires.
        access_token(server.oauth, server.password, renew=True)
        reply = _exchange(mechanism, server, send_command)
    if reply.code != _ACCEPTED:
        raise failure(Phase.AUTH, reply)


def _exchange(mechanism: str, server: Server, send_command: SendCommand) -> Reply:
    lines = _MECHANISMS[mechanism](server)
    reply = Reply.of(*send_command(f"AUTH {mechanism.upper()}{next(lines)}"))
    while reply.code == _CONTINUE:
        try:
            line = lines.send(reply.text)  # type: ignore[attr-defined]
        except StopIteration:
            line = "*"  # cancel: the server asks for more than the mechanism has
        reply = Reply.of(*send_command(line))
    return reply


def _plain(server: Server) -> Iterator[str]:
    """Log in with PLAIN (RFC 4616)."""
    yield " " + _encoded(f"\0{server.username}\0{server.password}")


def _login(server: Server) -> Iterator[str]:
    """Log in with LOGIN (no RFC): https://datatracker.ietf.org/doc/html/draft-murchison-sasl-login-00"""
    yield ""
    yield _encoded(server.username)
    yield _encoded(server.password)


def _cram_md5(server: Server) -> Iterator[str]:
    """Log in with CRAM-MD5 (RFC 2195)."""
    challenge = yield ""
    digest = hmac.digest(server.password.encode(), base64.b64decode(str(challenge)), "md5").hex()
    yield _encoded(f"{server.username} {digest}")


def _xoauth2(server: Server) -> Iterator[str]:
    """Log in with XOAUTH2: https://developers.google.com/workspace/gmail/imap/xoauth2-protocol"""
    assert server.oauth  # noqa: S101 - for the type checker: the settings require it
    token = access_token(server.oauth, server.password)
    yield " " + _encoded(f"user={server.username}\1auth=Bearer {token}\1\1")
    yield ""  # a refusal gives its reason in a challenge and expects an empty line


_MECHANISMS: dict[str, Callable[[Server], Iterator[str]]] = {
    "plain": _plain,
    "login": _login,
    "cram-md5": _cram_md5,
    "xoauth2": _xoauth2,
}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")

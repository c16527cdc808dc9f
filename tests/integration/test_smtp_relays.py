"""Requirements of real relays: names, logins, addresses, and one command at a time."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from actors.channels.email import connect, oauth
from actors.channels.email.errors import AuthenticationFailed
from actors.channels.email.server import Server, default_ehlo_name
from actors.channels.email.smtp import Transport
from actors.errors import PermanentFailure, Postponed
from app.settings import Settings, SettingsError
from tests.support.smtpd import Smtpd, mail, run, settings, to

# --- The EHLO name


def test_ehlo_uses_the_configured_name(smtpd: Smtpd, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    greet = Smtpd.handle_EHLO

    async def remember(self: Smtpd, server: Any, session: Any, envelope: Any, name: str, lines: Any) -> Any:
        names.append(name)
        return await greet(self, server, session, envelope, name, lines)

    monkeypatch.setattr(Smtpd, "handle_EHLO", remember)
    monkeypatch.setattr(socket, "getfqdn", lambda: "0f3c9a5be771")
    named: list[dict[str, Any]] = [
        {"smtp_ehlo_name": "mail.example.com"},
        {"from_email": "tickets@shop.example"},
    ]
    for changes in named:
        with closing(to(smtpd, **changes)) as transport:
            transport.send(mail())
    assert names == ["mail.example.com", "shop.example"]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("web-1.example.org", "web-1.example.org"),
        ("0f3c9a5be771", "shop.example"),
        ("localhost.localdomain", "shop.example"),
        ("192.0.2.7", "shop.example"),
        ("1.0.0.127.in-addr.arpa", "shop.example"),
    ],
)
def test_the_default_ehlo_name_is_fully_qualified(
    host: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: host)
    assert default_ehlo_name("tickets@shop.example") == name


# --- Addresses


def test_an_ipv6_literal_is_accepted_as_address() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as unused:
        port = unused.getsockname()[1]
    smtp: dict[str, Any] = {"smtp_server": "[::1]", "smtp_port": port, "smtp_security": "none"}
    server = Server.of(Settings(_env_file=None, **smtp))
    assert (server.host, server.address) == ("::1", f"[::1]:{port}")
    with pytest.raises(Postponed, match=rf"\[::1\]:{port}: .*refused"):
        Transport(server, connect_wait_seconds=None).send(mail())


def test_an_unresponsive_address_delays_only_the_first_connection(
    smtpd: Smtpd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "_ADDRESS_SECONDS", 0.3)
    # Reserved by RFC 5737: packets to this address are dropped or returned as unreachable.
    black_hole = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", smtpd.port))
    works = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", smtpd.port))
    requested: list[Any] = []
    connected = socket.socket.connect

    def record(self: socket.socket, address: Any) -> None:
        requested.append(address)
        connected(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [black_hole, works])
    monkeypatch.setattr(socket.socket, "connect", record)
    with closing(to(smtpd, max_mails=1)) as transport:
        for _ in range(3):
            transport.send(mail())
    assert len(smtpd.mails) == 3
    assert [address for address, _ in requested] == ["192.0.2.1", "127.0.0.1", "127.0.0.1", "127.0.0.1"]


# --- Mismatched ports and security


def test_an_error_about_missing_tls_names_the_setting(smtpd: Smtpd) -> None:
    with pytest.raises(Postponed, match="set SMTP_SECURITY=starttls, or SMTP_PORT=465"):
        to(smtpd, smtp_security="ssl").send(mail())


def test_starttls_on_an_implicit_tls_port_names_the_setting() -> None:
    server = Server.of(Settings(_env_file=None, smtp_port=465, smtp_security="starttls"))
    assert "SMTP_SECURITY=ssl" in connect.misconfigured(server, TimeoutError(), connected=True)
    assert connect.misconfigured(server, TimeoutError(), connected=False) == ""


# --- Commands


def test_a_server_that_reads_one_command_per_packet_gets_one_at_a_time() -> None:
    """Server that offers PIPELINING, but replies only to the first line of each read."""
    lines: list[str] = []

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"220 mail.example.com ESMTP\r\n")
                in_data = False
                while packet := connection.recv(65_536):
                    if in_data:
                        in_data = not packet.endswith(b"\r\n.\r\n")
                        reply = b"" if in_data else b"250 2.0.0 queued\r\n"
                    else:
                        line = packet.split(b"\r\n")[0].decode()
                        lines.append(line.split(":")[0])
                        in_data = line == "DATA"
                        offers = b"250-mail.example.com\r\n250 PIPELINING\r\n"
                        reply = (
                            offers
                            if line.upper().startswith("EHLO")
                            else b"354 go on\r\n"
                            if in_data
                            else b"250 OK\r\n"
                        )
                    connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        smtpd = Smtpd()
        smtpd.loop.close()
        smtpd.port = listener.getsockname()[1]
        with closing(to(smtpd, smtp_timeout=1.0)) as transport:
            transport.send(mail())
            transport.send(mail())
    assert [line for line in lines if line in ("MAIL FROM", "RCPT TO", "DATA")] == [
        "MAIL FROM",
        *["MAIL FROM", "RCPT TO", "DATA"] * 2,
    ]


def international(sender: str, recipient: str) -> Any:
    message = mail()
    message.envelope_from, message.envelope_to = sender, recipient
    message.as_bytes = lambda: b"Subject: x\r\n\r\nx\r\n"  # type: ignore[method-assign]
    return message


def test_a_local_part_outside_ascii_needs_smtputf8(smtpd: Smtpd) -> None:
    address = ("tickets@example.com", "jörg@example.com")
    with closing(to(smtpd)) as transport, pytest.raises(PermanentFailure, match="does not offer SMTPUTF8"):
        transport.send(international(*address))
    smtpd.smtputf8 = True
    with closing(to(smtpd)) as transport:
        transport.send(international(*address))
    assert smtpd.mails[-1].rcpt_tos == ["jörg@example.com"]


# --- XOAUTH2


@contextmanager
def token_endpoint(responses: Callable[[dict[str, str]], tuple[int, Any]]) -> Iterator[tuple[str, list[Any]]]:
    """An OAuth 2.0 token endpoint on loopback, and its requests."""
    requests: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            requests.append({name: values[0] for name, values in parse_qs(body).items()})
            status, response = responses(requests[-1])
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(response).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token", requests
        server.shutdown()
        thread.join()


class OauthSmtpd(Smtpd):
    """Accepts the access token in `token`."""

    token = "token-2"

    async def auth_XOAUTH2(self, server: Any, args: list[str]) -> Any:  # noqa: N802
        from aiosmtpd.smtp import AuthResult

        self.commands.append("auth")
        said = base64.b64decode(args[1]).decode()
        if said == f"user=shop@example.com\1auth=Bearer {self.token}\1\1":
            return AuthResult(success=True, auth_data="shop")
        await server.challenge_auth(b'{"status":"401"}')
        return AuthResult(
            success=False, handled=False, message="535 5.7.8 Username and Password not accepted"
        )


@pytest.fixture
def oauth_smtpd(localhost_pem: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Smtpd]:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setattr("tests.support.smtpd.Smtpd", OauthSmtpd)
    oauth._tokens.clear()
    with run("ssl", localhost_pem) as smtpd:
        yield smtpd


def with_oauth(smtpd: Smtpd, pem: Path, url: str, **changes: Any) -> Transport:
    named: dict[str, Any] = {
        "smtp_security": "ssl",
        "smtp_ca_file": pem,
        "smtp_username": "shop@example.com",
        "smtp_auth": "xoauth2",
        "smtp_oauth2_client_id": "app",
        "smtp_oauth2_client_secret": "secret-of-the-app",
        "smtp_oauth2_scope": "https://outlook.office365.com/.default",
        "smtp_oauth2_token_url": "https://login.example.com/token",
    }
    server = Server.of(settings(smtpd, **named | changes).model_copy(update={"smtp_oauth2_token_url": url}))
    return Transport(server, connect_wait_seconds=None)


@pytest.mark.parametrize(("password", "grant"), [("", "client_credentials"), ("refresh-me", "refresh_token")])
def test_xoauth2_logs_in_with_a_token_and_renews_a_revoked_one(
    oauth_smtpd: Smtpd, localhost_pem: Path, password: str, grant: str
) -> None:
    given = iter(["token-1", "token-2"])

    def responses(_: dict[str, str]) -> tuple[int, Any]:
        return 200, {"access_token": next(given), "token_type": "Bearer", "expires_in": 3600}

    with token_endpoint(responses) as (url, requests):
        transport = with_oauth(oauth_smtpd, localhost_pem, url, smtp_password=password)
        with closing(transport):
            transport.send(mail())
            transport.send(mail())
    assert len(oauth_smtpd.mails) == 2
    assert [request["grant_type"] for request in requests] == [grant] * 2
    assert {request["client_secret"] for request in requests} == {"secret-of-the-app"}
    assert requests[0].get("refresh_token") == (password or None)
    scope = None if password else "https://outlook.office365.com/.default"
    assert requests[0].get("scope") == scope, "a refresh token has the scope that was granted"


def test_a_refusing_token_endpoint_is_a_refused_login_and_reveals_no_secret(
    oauth_smtpd: Smtpd, localhost_pem: Path
) -> None:
    refusal = {"error": "invalid_client", "error_description": "unknown app"}
    with token_endpoint(lambda _: (401, refusal)) as (url, _):
        transport = with_oauth(oauth_smtpd, localhost_pem, url)
        with pytest.raises(AuthenticationFailed, match=r"invalid_client .*SMTP_OAUTH2_CLIENT_ID") as refused:
            transport.send(mail())
    assert "secret" not in str(refused.value)


def test_an_unavailable_token_endpoint_holds_the_mail(oauth_smtpd: Smtpd, localhost_pem: Path) -> None:
    with token_endpoint(lambda _: (500, "oops")) as (url, _):
        pass
    with pytest.raises(Postponed, match=r"returned no token: ConnectionError") as held:
        with_oauth(oauth_smtpd, localhost_pem, url).send(mail())
    assert not isinstance(held.value, AuthenticationFailed)


@pytest.mark.parametrize(
    "changes",
    [
        {"smtp_auth": "xoauth2"},
        {"smtp_fallback_url": "http://example.com"},
        {"smtp_fallback_url": "smtp://example.com:0"},
        {"smtp_fallback_url": "smtp://example.com?security=maybe"},
        {"smtp_ehlo_name": "a b"},
        {"smtp_auth": "gssapi"},
    ],
)
def test_wrong_settings_are_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes)).upper() + "|" + next(iter(changes))):
        Settings(_env_file=None, **changes)
    assert issubclass(SettingsError, Exception)

"""A scripted SMTP server: real sockets that reply, refuse, and disconnect on demand."""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from aiosmtpd.smtp import Session as SmtpSession

from actors.channels.email.compose import OutgoingMail, compose
from actors.channels.email.render import Rendered
from actors.channels.email.server import Server
from actors.channels.email.smtp import Transport
from actors.circuit import Circuit
from app.settings import Settings

PASSWORD = "correct horse battery staple"

# It would log every line of every mail.
logging.getLogger("mail.log").setLevel(logging.WARNING)

#: Instead of a reply, the connection is cut, or kept open in silence.
CUT = "cut"
SILENCE = "silence"

#: Instead of a reply to DATA, the connection is cut after a part of the mail was received.
IN_THE_MIDST = "cut in the midst"

#: A reply after which the connection is cut.
LAST_WORDS = "250 2.0.0 accepted, and goodbye"


class Smtpd:
    """A mail server that sends the replies in `script[command]`, in order, before its default replies.

    Attributes:
        commands: received commands of all connections: connect, ehlo, starttls, auth, mail, rcpt, data,
            message,
            end, rset, quit.
        mails: accepted mails.
        max_connections: limit of concurrent connections; further ones get 432 at MAIL, as from Exchange.
        sender: the only accepted sender; None for any.
        smtputf8: whether it offers SMTPUTF8.
        greeting_delay: seconds before the greeting.
        offers: lines of its reply to EHLO.
        on_message: called after a whole mail is received, before the reply.
    """

    def __init__(self) -> None:
        self.script: dict[str, list[str]] = {}
        self.commands: list[str] = []
        self.mails: list[Envelope] = []
        self.connections: list[Connection] = []
        self.password = PASSWORD
        self.max_connections = 1_000
        self.sender: str | None = None
        self.greeting_delay = 0.0
        self.smtputf8 = False
        self.offers: list[str] = []
        self.on_message: Callable[[], object] = lambda: None
        self.open_connections = 0
        self.loop = asyncio.new_event_loop()
        self.port = 0

    def count(self, command: str) -> int:
        return self.commands.count(command)

    def hang_up(self) -> None:
        """Close every connection, as a server does with idle ones."""

        async def close() -> None:
            for connection in self.connections:
                if connection.transport is not None:
                    connection.transport.close()

        asyncio.run_coroutine_threadsafe(close(), self.loop).result()

    async def response(self, server: SMTP, command: str, default: str = "250 OK") -> str:
        self.commands.append(command)
        scripted = self.script.get(command)
        reply = scripted.pop(0) if scripted else default
        if reply == CUT:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        if reply in (CUT, SILENCE):
            await asyncio.Event().wait()
        if reply == LAST_WORDS:
            await server.push(reply)
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.close()
        return reply

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's names, here and below
        self, server: SMTP, session: SmtpSession, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.commands.append("ehlo")
        session.host_name = hostname
        return [*responses[:1], *self.offers, *responses[1:]]

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: SmtpSession, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.open_connections > self.max_connections:
            return "432 4.3.2 Concurrent connections limit exceeded"
        if self.sender not in (None, address):
            return "550 5.7.60 Client does not have permissions to send as this sender"
        reply = await self.response(server, "mail")
        if reply.startswith("2"):
            envelope.mail_from = address
        return reply

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: SmtpSession, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        reply = await self.response(server, "rcpt")
        if reply.startswith("2"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: SmtpSession, envelope: Envelope
    ) -> str:
        self.on_message()
        reply = await self.response(server, "message", "250 2.0.0 queued as 1")
        if reply.startswith("2"):
            self.mails.append(envelope)
        return reply

    async def handle_RSET(  # noqa: N802
        self, server: SMTP, session: SmtpSession, envelope: Envelope
    ) -> str:
        return await self.response(server, "rset")

    async def handle_QUIT(  # noqa: N802
        self, server: SMTP, session: SmtpSession, envelope: Envelope
    ) -> str:
        return await self.response(server, "quit", "221 Bye")

    def authenticate(
        self, server: SMTP, session: SmtpSession, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        self.commands.append("auth")
        right = (data.login, data.password) == (b"user", self.password.encode())
        return AuthResult(success=right, handled=False)


class Connection(SMTP):
    """The server's side of one connection."""

    def __init__(self, smtpd: Smtpd, tls: ssl.SSLContext | None = None, *, secure: bool = False) -> None:
        super().__init__(
            smtpd,
            hostname="localhost",
            authenticator=smtpd.authenticate,
            auth_require_tls=not secure,  # it is not aware of the TLS layer
            tls_context=tls,
            loop=smtpd.loop,
            enable_SMTPUTF8=smtpd.smtputf8,
        )
        smtpd.connections.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.event_handler.open_connections += 1
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.event_handler.open_connections -= 1
        super().connection_lost(error)

    async def _handle_client(self) -> None:
        # The greeting, which aiosmtpd sends here without a hook.
        await asyncio.sleep(self.event_handler.greeting_delay)
        reply = await self.event_handler.response(self, "connect", "")
        if reply:
            await self.push(reply)
            self.transport.close()
        else:
            await super()._handle_client()

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        reply = await self.event_handler.response(self, "starttls", "")
        if reply:
            await self.push(reply)
        else:
            await super().smtp_STARTTLS(arg)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        reply = await self.event_handler.response(self, "data", "")
        if reply == IN_THE_MIDST:
            await self.push("354 go on")
            await self._reader.readexactly(1_000)
            self.transport.abort()
        elif reply.startswith("354"):  # for any recipient
            await self.push(reply)
            await self._reader.readuntil(b".\r\n")
            await self.push(await self.event_handler.response(self, "end", "554 5.5.1 no valid recipients"))
        elif reply:
            await self.push(reply)
        else:
            await super().smtp_DATA(arg)


class Speech(asyncio.Protocol):
    """The server's side of a connection that sends one reply and then nothing."""

    def __init__(self, words: bytes) -> None:
        self._words = words

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._words)


@contextmanager
def serving(
    smtpd: Smtpd,
    factory: Callable[[], asyncio.Protocol],
    tls: ssl.SSLContext | None = None,
    port: int = 0,
) -> Iterator[Smtpd]:
    """Run a server in a separate thread, on `port`; 0 for a free one."""
    loop = smtpd.loop

    async def stop() -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", port, ssl=tls))
    smtpd.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield smtpd
    finally:
        smtpd.hang_up()
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


_CA = """\
[ca]
default_ca = this
[this]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = extensions
[any]
commonName = supplied
[extensions]
subjectAltName = DNS:{name}
keyUsage = digitalSignature, keyCertSign
"""


def certificate(folder: Path, name: str, *, expired: bool = False) -> Path:
    """Create a self-signed certificate for `name`, with its key in the same file."""
    (folder / "ca.cnf").write_text(_CA.format(name=name))
    (folder / "index.txt").touch()
    key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem"
    # `openssl req` can't create an expired certificate; `openssl ca` accepts any dates.
    dates = "-startdate 20200101000000Z -enddate " + ("20210101000000Z" if expired else "20990101000000Z")
    for command in (
        f"req -new {key} -out request.pem -subj /CN={name}",
        f"ca -batch -notext -selfsign -config ca.cnf -keyfile key.pem -in request.pem -out cert.pem {dates}",
    ):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)
    pem = folder / "both.pem"
    pem.write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return pem


def run(security: str, pem: Path | None = None, port: int = 0) -> AbstractContextManager[Smtpd]:
    """Run a server with `security`, as in SMTP_SECURITY, and the certificate in `pem`."""
    smtpd = Smtpd()
    tls = None
    if pem:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pem)
    starttls = tls if security == "starttls" else None
    implicit = tls if security == "ssl" else None
    return serving(smtpd, lambda: Connection(smtpd, starttls, secure=bool(implicit)), implicit, port)


def content_of(mail: Envelope) -> bytes:
    """Return the message as it was transmitted."""
    assert isinstance(mail.content, bytes)
    return mail.content


def settings(smtpd: Smtpd, **changes: Any) -> Settings:
    """Return the settings to send mails to `smtpd`."""
    values: dict[str, Any] = {"smtp_timeout": 30.0, "smtp_security": "none"} | changes
    return Settings(_env_file=None, smtp_server="localhost", smtp_port=smtpd.port, **values)


def to(
    smtpd: Smtpd,
    *,
    max_mails: int = 100,
    max_idle_seconds: float = 60.0,
    unchecked_seconds: float = 30.0,
    **changes: Any,
) -> Transport:
    """Return a transport to `smtpd`. It waits for connections, and retries immediately after a failure."""
    return Transport(
        Server.of(settings(smtpd, **changes)),
        connect_wait_seconds=None,
        max_mails=max_mails,
        max_idle_seconds=max_idle_seconds,
        unchecked_seconds=unchecked_seconds,
        circuit=Circuit(intervals=(0.0, 0.0)),
    )


def mail(text: str = "text\n") -> OutgoingMail:
    """Return a mail to send."""
    return compose(
        Rendered("Subject", "Preheader", "<p>page</p>\n", text),
        recipient="jane.doe@example.com",
        sender=("MovieApp", "tickets@example.com"),
        message_id="<abc@example.com>",
        date=datetime(2026, 12, 1, tzinfo=UTC),
    )

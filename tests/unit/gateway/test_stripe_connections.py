"""Server behavior that would extend a call beyond its timeouts."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from app.gateway.stripe.errors import NeverReached
from app.gateway.stripe.http_client import HTTPClient
from tests.support.smtpd import certificate

BODY = b'{"object": "balance"}'
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Server:
    """Accepts connections, and passes each to `behavior` in a separate thread."""

    def __init__(self, behavior: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._behavior = behavior
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        # The client may have closed it.
        with connection, contextlib.suppress(OSError):
            self._behavior(connection)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], Server]]:
    servers: list[Server] = []

    def start(behavior: Callable[[socket.socket], None]) -> Server:
        servers.append(Server(behavior))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def request(url: str, timeout: tuple[float, float] = (0.5, 0.5)) -> tuple[Any, int, Any]:
    return HTTPClient(url, timeout, 4).request("get", f"{url}/v1/balance", {})


def drip(data: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)

    return behave


@pytest.mark.parametrize(
    "data",
    [
        RESPONSE,
        b"HTTP/1.1 200 OK\r\n" + b"X-Slow: 1\r\n" * 1000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n{\r\n" * 1000,
    ],
    ids=["all of it", "headers without end", "chunks without end"],
)
def test_a_slowly_sent_response_ends_with_the_read_timeout(serve: Any, data: bytes) -> None:
    server = serve(drip(data))
    started = time.monotonic()
    with pytest.raises(stripe.APIConnectionError) as failed:
        request(server.url)
    assert 0.4 < time.monotonic() - started < 3
    assert not isinstance(failed.value, NeverReached), "the request may have been executed"


def test_a_server_that_never_responds_ends_with_the_read_timeout(serve: Any) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        time.sleep(5)

    server = serve(behave)
    started = time.monotonic()
    with pytest.raises(stripe.APIConnectionError):
        request(server.url)
    assert time.monotonic() - started < 3


def test_a_reused_connection_gets_the_whole_timeout(serve: Any) -> None:
    def behave(connection: socket.socket) -> None:
        while connection.recv(65536):
            time.sleep(0.3)
            connection.sendall(RESPONSE)

    server = serve(behave)
    client = HTTPClient(server.url, (0.5, 0.5), 4)
    for _ in range(3):
        assert client.request("get", f"{server.url}/v1/balance", {})[:2] == (BODY, 200)
    assert server.accepted == 1


def test_a_response_with_connection_close_is_read_completely(serve: Any) -> None:
    body = b'{"object": "list", "data": "%s"}' % (b"x" * 300_000)

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)

    assert request(serve(behave).url, (0.5, 5.0))[:2] == (body, 200)


def test_a_hanging_tls_handshake_ends_with_the_connect_timeout(serve: Any) -> None:
    server = serve(lambda connection: time.sleep(5))
    url = server.url.replace("http:", "https:")
    started = time.monotonic()
    with pytest.raises(stripe.APIConnectionError):
        request(url)
    assert time.monotonic() - started < 3


def test_many_unreachable_addresses_take_one_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    # A full backlog drops further connections, as an unreachable host does.
    waiting = [socket.socket() for _ in range(4)]
    for client in waiting:
        client.setblocking(False)
        client.connect_ex(full.getsockname())
    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname())
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address] * 6)
    started = time.monotonic()
    with pytest.raises(NeverReached):
        request("http://many.example", (0.6, 0.5))
    assert 0.5 < time.monotonic() - started < 3
    for client in (*waiting, full):
        client.close()


def test_an_unreachable_address_leaves_time_for_the_next(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(RESPONSE)

    server = serve(behave)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()
    alive = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (dead, alive)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert request("http://many.example")[1] == 200


@pytest.mark.parametrize(
    "error", [socket.gaierror(-2, "unknown"), ConnectionRefusedError(), OSError(101, "x")]
)
def test_an_unreachable_host_counts_as_never_reached(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    if isinstance(error, socket.gaierror):
        monkeypatch.setattr(socket, "getaddrinfo", fail)
    else:
        monkeypatch.setattr(socket.socket, "connect", fail)
    with pytest.raises(NeverReached) as failed:
        request("http://127.0.0.1:9")
    assert failed.value.should_retry


def test_an_abandoned_request_is_not_delivered_later(serve: Any) -> None:
    """The kernel must discard unsent data with the socket (SO_LINGER), and not retransmit it."""
    reset = threading.Event()

    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.settimeout(60)
        try:
            connection.recv(1)
        except ConnectionResetError:
            reset.set()

    with pytest.raises(stripe.APIConnectionError):
        request(serve(behave).url, (0.5, 0.2))
    assert reset.wait(60)


def test_a_server_with_an_invalid_certificate_counts_as_never_reached(serve: Any, tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate(tmp_path, "127.0.0.1"))
    received: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        received.append(tls.wrap_socket(connection, server_side=True).recv(65536))

    url = serve(behave).url.replace("http:", "https:")
    with pytest.raises(NeverReached) as failed:
        request(url, (5.0, 5.0))
    assert not failed.value.should_retry, "it will be the same the next time"
    assert not any(received)

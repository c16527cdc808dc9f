"""Clients that send slowly, read slowly, or send invalid requests: other clients are not delayed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import requests

from app.models import Transaction, connect
from tests.support.servers import ApiServer
from tests.support.typical import typical_seconds
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

PAYMENT = {"user_id": "user_1", "booking_id": "BOOK-1", "amount": 9, "payment_method": "credit_card"}
POST = "POST /payment/process HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

#: Seconds within which the API of these tests must receive a request.
READ_SECONDS = 5


@pytest.fixture
def api(redis_settings: Settings, stripe_simulator: StripeSimulator, tmp_path: Path) -> Iterator[ApiServer]:
    settings = redis_settings.model_copy(
        update=stripe_simulator.settings | {"web_read_timeout": READ_SECONDS}
    )
    connect(settings)
    server = ApiServer(tmp_path, settings)
    server.start()
    wait_for(lambda: requests.get(f"{server.url}/health", timeout=60).ok, 60, "its worker does not start")
    yield server
    server.stop()


def connection(api: ApiServer) -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", api.port), timeout=20)
    opened.settimeout(20)
    return opened


def exchange(api: ApiServer, sent: bytes) -> bytes:
    """Send bytes, and read until the API closes the connection."""
    with closing(connection(api)) as client:
        client.sendall(sent)
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while data := client.recv(65_536):
            received += data
    return received


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = f"{POST}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


@contextmanager
def dripping(clients: list[tuple[socket.socket, bytes]]) -> Iterator[None]:
    """Send one byte to each connection again and again."""
    done = threading.Event()

    def drip() -> None:
        while not done.is_set():
            for client, byte in clients:
                with suppress(OSError):
                    client.send(byte)
            done.wait(0.5)

    thread = threading.Thread(target=drip)
    thread.start()
    yield
    done.set()
    thread.join()


def pay(api: ApiServer, payment: dict[str, object]) -> requests.Response:
    return requests.post(f"{api.url}/payment/process", json=payment, timeout=10)


def test_four_hundred_slow_clients_do_not_delay_others(api: ApiServer) -> None:
    starts = [
        (b"GET /health HTTP/1.1\r\nX-Slow: ", b"x"),
        (b"POST /payment/webhook HTTP/1.1\r\nContent-Length: 60000\r\n\r\n", b"x"),
        (b"POST /payment/webhook HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n", b"x"),
        (b"", b"G"),
    ]
    with ExitStack() as opened:
        clients = []
        for number in range(400):
            start, byte = starts[number % len(starts)]
            client = opened.enter_context(closing(connection(api)))
            client.sendall(start)
            clients.append((client, byte))
        with dripping(clients):
            payments = [PAYMENT | {"booking_id": f"BOOK-{number}"} for number in range(9)]
            assert typical_seconds(lambda: requests.get(f"{api.url}/health", timeout=10)) < 1
            assert typical_seconds(lambda: pay(api, payments.pop())) < 1
        closed = [read_all(client) for client, _ in clients[:4]]
    assert [response[:12] for response in closed] == [b"HTTP/1.1 408"] * 4


def test_a_request_sent_in_pieces_is_accepted(api: ApiServer) -> None:
    body = json.dumps(PAYMENT).encode()
    request = f"{POST}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
    with closing(connection(api)) as client:
        for start in range(0, len(request), 40):
            client.sendall(request[start : start + 40])
            time.sleep(0.02)
        assert read_all(client).startswith(b"HTTP/1.1 200")


def test_two_requests_on_one_connection_are_answered_in_order(api: ApiServer) -> None:
    first = b"GET /payment/methods HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answered = exchange(api, first * 300 + last)
    assert answered.count(b"HTTP/1.1 200") == 301
    assert answered.rindex(b'"payment_methods"') < answered.index(b'"healthy"')


def test_expect_100_continue_gets_a_100(api: ApiServer) -> None:
    body = json.dumps(PAYMENT).encode()
    with closing(connection(api)) as client:
        head = f"{POST}Content-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        client.sendall(head.encode())
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert b"HTTP/1.1 200" in read_all(client)


def test_clients_that_do_not_read_responses_do_not_delay_others(api: ApiServer) -> None:
    expected = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as opened:
        for _ in range(250):
            client = opened.enter_context(closing(socket.socket()))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(("127.0.0.1", api.port))
            client.sendall(expected)
        assert typical_seconds(lambda: requests.get(f"{api.url}/health", timeout=10)) < 1


def test_clients_that_never_close_do_not_delay_others(api: ApiServer) -> None:
    """A connection closed by the API, which the client closes later or never."""
    expected = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with ExitStack() as opened:
        for _ in range(50):
            client = opened.enter_context(closing(connection(api)))
            client.sendall(expected)
        assert typical_seconds(lambda: requests.get(f"{api.url}/health", timeout=10)) < 1


def payment_of(size: int = 0, booking: str = "BOOK-1") -> bytes:
    """Return a payment as valid JSON of that size."""
    return json.dumps(PAYMENT | {"booking_id": booking}).encode().ljust(size)


def sized(*fields: str) -> bytes:
    """Return a payment with those header fields before 65,537 bytes of body."""
    head = POST + "\r\n".join([*fields, "", ""])
    return head.encode() + payment_of(65_537)


#: Request → status of the response.
BODIES = {
    "one chunk": (chunked(payment_of()), 200),
    "a byte in each chunk": (chunked(*(bytes([each]) for each in payment_of(0, "BOOK-2"))), 200),
    "as large as is allowed": (chunked(payment_of(65_536, "BOOK-3")), 200),
    "junk in a chunk after that": (chunked(payment_of(65_536), b"junk"), 413),
    "a brace after that": (chunked(payment_of(65_536) + b"}"), 413),
    "a blank after that": (chunked(payment_of(65_537)), 413),
    "ten megabytes": (chunked(*[payment_of(65_536)] * 160), 413),
    "no size of a chunk": (chunked(payment_of(1_000), end=b"x\r\n\r\n"), 400),
    "a negative size": (chunked(payment_of(1_000), end=b"-0\r\n\r\n"), 400),
    "a trailer that is none": (chunked(payment_of(1_000), end=b"0\r\nbad trailer\r\n\r\n"), 400),
    "a size one too small": (chunked(payment_of(1_000)).replace(b"\r\n3e8\r\n", b"\r\n3e7\r\n"), 400),
    "a length that is too large": (sized("Content-Length: 65537"), 413),
    "a length and chunks": (sized("Content-Length: 5", "Transfer-Encoding: chunked"), 400),
    "two lengths": (sized("Content-Length: 5", "Content-Length: 6"), 400),
}


def test_a_body_is_counted_and_checked_before_anything_is_charged(api: ApiServer) -> None:
    responses = {name: exchange(api, sent) for name, (sent, _) in BODIES.items()}
    statuses = {name: int(response[9:12] or 0) for name, response in responses.items()}
    assert statuses == {name: status for name, (_, status) in BODIES.items()}
    assert {response.count(b"HTTP/1.1") for response in responses.values()} == {1}, (
        "no body holds another request"
    )
    assert Transaction.objects.count() == list(statuses.values()).count(200)

"""gunicorn's threaded worker, with threads that never wait for a client.

gunicorn's own worker reads a request in one of its threads. A client that sends a byte every few seconds
blocks the thread, and a few hundred such clients block them all. Here the worker's event loop receives each
request in full before a thread gets it. A request that is not complete within WEB_READ_TIMEOUT is refused.
When connections run out, the oldest incomplete one is closed first.
"""

from __future__ import annotations

import contextlib
import errno
import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from types import MappingProxyType
from typing import Any

from gunicorn import http
from gunicorn.workers.gthread import TConn, ThreadWorker

from app.settings import LARGER_BODIES, load_settings

#: Maximum bytes of the request line and all headers. Browsers and proxies stay below 16 KiB.
_HEAD_LIMIT = 32 * 1024

#: Bytes read at once from a socket.
_READ_BYTES = 64 * 1024

#: Bytes of a chunked body that are received beyond its limit, so that the application sees the excess.
_BODY_EXCESS_BYTES = 16 * 1024

#: Maximum size of a chunked body with its framing, as a multiple of its limit. With chunks of one byte, it is
#: 6.
_FRAMING_FACTOR = 8

#: Maximum bytes of a chunk-size line. More is an attack.
_CHUNK_LINE_LIMIT = 256

#: Seconds to continue reading after the last response, until the client closes (RFC 9112, 9.6). Otherwise the
#: kernel would reset the connection, and the client might lose the response.
_LINGER_SECONDS = 2.0

#: Seconds for a client to read a whole response.
_RESPONSE_SECONDS = 30.0

#: Connections kept free for new clients.
_RESERVED_FILES = 16

_HEADER = re.compile(
    rb"\r\n(content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)", re.I
)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(?:;[^\r]*)?")

#: Start of a request line → maximum bytes of its body, if larger than MAX_BODY_BYTES.
_LARGER = {f"POST {path} ".encode(): size for path, size in LARGER_BODIES.items()}

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)


class Inbox:
    """Received data that no request has consumed yet.

    It decides only whether there is enough data to parse. gunicorn's parser reads from it like from a socket,
    and decides what the data means. If the two disagree, the parser reaches the end of the data and refuses
    it.

    Args:
        body_limit: size of the largest body that is received in full, in bytes.
        larger: beginning of a request line → the limit of its body.
    """

    def __init__(self, body_limit: int, larger: Mapping[bytes, int] = MappingProxyType({})) -> None:
        self._default_limit = self._body_limit = body_limit
        self._larger = larger
        self._data = bytearray()
        #: The rest of the request was not received, so later bytes can't be parsed as a request.
        self.truncated = False
        self._forget_progress()

    def _forget_progress(self) -> None:
        self._head_end = -1
        self._chunked = False
        self._body_end = 0
        self._chunk_at = 0
        self._body_size = 0
        #: The client waits for "100 Continue" before it sends the body (RFC 9110, 10.1.1).
        self.expects_continue = False

    def __len__(self) -> int:
        return len(self._data)

    def recv(self, size: int) -> bytes:
        """Return up to `size` bytes for gunicorn's parser; b"" at the end of the received data."""
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    def begin(self, leftover: bytes) -> None:
        """Start the next request with the data that the parser has read beyond the last one."""
        self._data[:0] = leftover
        self._forget_progress()

    def add(self, data: bytes) -> None:
        """Append received data."""
        self._data += data

    @property
    def is_head_too_large(self) -> bool:
        """Return whether the headers exceed the limit."""
        return self._head_end < 0 and len(self._data) > _HEAD_LIMIT

    def is_complete(self) -> bool:
        """Return whether the data is a whole request, or enough to refuse it."""
        if self._head_end < 0:
            found = self._data.find(b"\r\n\r\n")
            if found < 0:
                return False
            self._head_end = found + 4
            self._read_head()
        if self.truncated:
            return True
        return self._are_chunks_complete() if self._chunked else len(self._data) >= self._body_end

    def _read_head(self) -> None:
        beginnings = (start for start in self._larger if self._data.startswith(start))
        self._body_limit = next((self._larger[start] for start in beginnings), self._default_limit)
        headers: dict[bytes, list[bytes]] = {}
        for name, value in _HEADER.findall(self._data[: self._head_end - 2]):
            headers.setdefault(name.lower(), []).append(value)
        lengths, encodings = headers.get(b"content-length", []), headers.get(b"transfer-encoding", [])
        self.expects_continue = [value.lower() for value in headers.get(b"expect", [])] == [b"100-continue"]
        self._body_end = self._chunk_at = self._head_end
        if [value.lower() for value in encodings] == [b"chunked"] and not lengths:
            self._chunked = True
        elif encodings or len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
            self.truncated = True  # ambiguous: the parser refuses it
        elif lengths:
            size = int(lengths[0])
            self._body_end += size
            self.truncated = size > self._body_limit  # the application refuses it without reading it

    def _are_chunks_complete(self) -> bool:
        """Return whether the chunks received so far are complete (RFC 9112, 7.1)."""
        while self._chunk_at < len(self._data):
            line_end = self._data.find(b"\r\n", self._chunk_at, self._chunk_at + _CHUNK_LINE_LIMIT)
            if line_end < 0:
                self.truncated = len(self._data) - self._chunk_at > _CHUNK_LINE_LIMIT
                return self.truncated
            line = _CHUNK_SIZE.fullmatch(self._data, self._chunk_at, line_end)
            if line is None:
                self.truncated = True
                return True
            size = int(line[1], 16)
            if size == 0:
                return self._are_trailers_complete(line_end)
            chunk_end = line_end + 2 + size + 2
            if chunk_end > len(self._data):
                return self._is_too_large(self._body_size + len(self._data) - line_end)
            self._chunk_at, self._body_size = chunk_end, self._body_size + size
        return self._is_too_large(self._body_size)

    def _is_too_large(self, body_size: int) -> bool:
        """Return whether enough was received for the application to see that the body is too large."""
        received = len(self._data) - self._head_end
        self.truncated = (
            body_size > self._body_limit + _BODY_EXCESS_BYTES or received > _FRAMING_FACTOR * self._body_limit
        )
        return self.truncated

    def _are_trailers_complete(self, line_end: int) -> bool:
        """Return whether the trailer section after the last chunk is complete: fields and an empty line."""
        if self._data.startswith(b"\r\n", line_end + 2):
            return True
        if self._data.find(b"\r\n\r\n", line_end) >= 0:
            return True
        self.truncated = len(self._data) - line_end > _HEAD_LIMIT
        return self.truncated


class _TimedSocket:
    """A socket with a time limit for the peer to receive all sent data."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._deadline: float | None = None

    def sendall(self, data: bytes) -> None:
        """Send `data`.

        Raises:
            TimeoutError: the time limit has passed.
        """
        if self._deadline is None:
            self._deadline = time.monotonic() + _RESPONSE_SECONDS
        self._sock.settimeout(max(0.001, self._deadline - time.monotonic()))
        self._sock.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class BufferingWorker(ThreadWorker):  # type: ignore[misc] # gunicorn ships no types
    """A threaded worker whose event loop receives whole requests, and closes connections without waiting."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = load_settings()
        self._body_limit = settings.max_body_bytes
        self._read_seconds = settings.web_read_timeout
        # Both are in the order of their deadlines, because each kind has a fixed timeout.
        self._receiving: deque[TConn] = deque()
        self._lingering: deque[TConn] = deque()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection, and make room for the next one."""
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._close_oldest()
        if self.nr_conns > self.worker_connections - _RESERVED_FILES:
            self._close_oldest()

    def enqueue_req(self, conn: TConn) -> None:
        """Pass a connection to a thread after its next request has been received in full."""
        if self.cfg.is_ssl:  # the received bytes are ciphertext, as in gunicorn's own workers
            super().enqueue_req(conn)
            return
        if conn.parser is None:
            conn.inbox = Inbox(self._body_limit, _LARGER)
            conn.parser = http.get_parser(self.cfg, conn.inbox, conn.client)
        else:
            conn.inbox.begin(conn.parser.unreader.take_buffered())
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + self._read_seconds
        conn.continued = False
        if not self._received(conn):
            self._receiving.append(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_readable, conn))

    def _on_readable(self, conn: TConn, sock: socket.socket) -> None:
        if self._received(conn):
            self.poller.unregister(sock)
            self._receiving.remove(conn)

    def _received(self, conn: TConn) -> bool:
        """Read the available data. Return whether the connection needs no more reading."""
        inbox: Inbox = conn.inbox
        if not inbox.is_complete():
            try:
                data = conn.sock.recv(_READ_BYTES)
            except BlockingIOError:
                return False
            except OSError:
                data = b""
            if not data:
                self._close(conn)
                return True
            inbox.add(data)
        if not inbox.is_complete():
            if inbox.is_head_too_large:
                self._refuse(conn, _HEAD_TOO_LARGE)
                return True
            if inbox.expects_continue and not conn.continued:
                conn.continued = True
                self._send(conn, _CONTINUE)
            return False
        conn.data_ready = True
        super().enqueue_req(conn)
        return True

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """Respond to a request in a thread. Return whether to keep the connection."""
        sock = conn.sock
        conn.sock = _TimedSocket(sock)
        try:
            keep: bool = super().handle_request(req, conn)
        except TimeoutError:
            self.log.debug("The client did not take the response within %.0f s", _RESPONSE_SECONDS)
            return False
        finally:
            conn.sock = sock
        return keep and (self.cfg.is_ssl or not conn.inbox.truncated)

    def finish_request(self, conn: TConn, future: Future[Any]) -> None:
        """Keep the connection, or close it without blocking the event loop."""
        if self.cfg.is_ssl:
            super().finish_request(conn, future)
        elif future.cancelled() or future.exception() or not future.result():
            self._linger(conn)
        elif len(conn.inbox):  # the client has already sent its next request
            self.enqueue_req(conn)
        else:
            super().finish_request(conn, future)

    def murder_pending(self) -> None:
        """Close connections that have timed out. The event loop calls this once a second."""
        super().murder_pending()
        now = time.monotonic()
        while self._receiving and self._receiving[0].timeout <= now:
            conn = self._receiving.popleft()
            self.poller.unregister(conn.sock)
            if len(conn.inbox):
                self._refuse(conn, _TIMEOUT)
            else:
                self._close(conn)
        while self._lingering and self._lingering[0].timeout <= now:
            conn = self._lingering.popleft()
            self.poller.unregister(conn.sock)
            self._close(conn)

    def _close_oldest(self) -> None:
        """Close the connection that has been incomplete, or idle, for longest."""
        for waiting in (self._lingering, self._receiving, self.keepalived_conns):
            if waiting:
                conn = waiting.popleft()
                self.poller.unregister(conn.sock)
                self._close(conn)
                return

    def _refuse(self, conn: TConn, response: bytes) -> None:
        self._send(conn, response)
        self._linger(conn)

    def _send(self, conn: TConn, response: bytes) -> None:
        with contextlib.suppress(OSError):  # the client has disconnected: the next read reports it
            conn.sock.send(response)  # a few bytes, which fit into the socket's buffer

    def _linger(self, conn: TConn) -> None:
        """Close our side, and read until the client closes or times out."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            conn.timeout = time.monotonic() + _LINGER_SECONDS
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_lingering, conn))
        except (OSError, ValueError):  # closed already
            self._close(conn)
            return
        self._lingering.append(conn)

    def _on_lingering(self, conn: TConn, sock: socket.socket) -> None:
        try:
            data = sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.poller.unregister(sock)
            self._lingering.remove(conn)
            self._close(conn)

    def _close(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()

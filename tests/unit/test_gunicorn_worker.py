"""The gunicorn worker: when a request is complete, for any arrival of its bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.gunicorn_worker import Inbox

LIMIT = 100

#: Requests that are complete only with their last byte.
COMPLETE = [
    b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345",
    b"POST / HTTP/1.1\r\ncontent-length:0\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\na\r\n9\r\n012345678\r\n0\r\nX:1\r\n\r\n",
]


def split(request: bytes, at: list[int]) -> list[bytes]:
    cuts = [0, *sorted({cut % len(request) for cut in at}), len(request)]
    return [request[start:end] for start, end in pairwise(cuts) if start != end]


@pytest.mark.parametrize("request_bytes", COMPLETE)
@given(at=st.lists(st.integers(0, 500), max_size=8))
def test_a_request_is_complete_after_its_last_byte(request_bytes: bytes, at: list[int]) -> None:
    inbox = Inbox(LIMIT)
    *parts, last = split(request_bytes, at)
    for part in parts:
        inbox.add(part)
        assert not inbox.is_complete()
    inbox.add(last)
    assert inbox.is_complete()
    assert not inbox.truncated
    assert inbox.recv(1_000_000) == request_bytes


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 101",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: -1",
        b"Content-Length: 1e3",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    ],
)
def test_a_body_that_is_too_large_or_ambiguous_is_not_read(head: bytes) -> None:
    inbox = Inbox(LIMIT)
    inbox.add(b"POST / HTTP/1.1\r\n" + head + b"\r\n\r\n")
    assert inbox.is_complete()
    assert inbox.truncated, "nothing on this connection is read as another request"


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"-1\r\n",
        b"5" * 300,
        b"0\r\nX-Long: " + b"x" * 40_000,
        b"".join(b"a\r\n0123456789\r\n" for _ in range(2_000)),
        b"ffff\r\n" + b"x" * 40_000,
        b"1\r\nx\r\n" * 500,
    ],
)
def test_endless_or_malformed_chunks_are_not_read(body: bytes) -> None:
    inbox = Inbox(LIMIT)
    inbox.add(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    assert inbox.is_complete()
    assert inbox.truncated


def test_endless_headers_are_refused_as_too_large() -> None:
    inbox = Inbox(LIMIT)
    inbox.add(b"GET / HTTP/1.1\r\nX: " + b"x" * 33_000)
    assert not inbox.is_complete()
    assert inbox.is_head_too_large


def test_bytes_read_ahead_belong_to_the_next_request() -> None:
    inbox = Inbox(LIMIT)
    inbox.add(COMPLETE[1] + COMPLETE[0][:10])
    assert inbox.is_complete()
    read = inbox.recv(1_000)
    inbox.begin(read[len(COMPLETE[1]) :])
    assert not inbox.is_complete()
    inbox.add(COMPLETE[0][10:])
    assert inbox.is_complete()

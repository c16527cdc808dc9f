"""A server that replies to every command as mongos replies to `hello`."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import bson

_HELLO = {
    "ok": 1.0,
    # Queries find nothing.
    "cursor": {"id": bson.Int64(0), "ns": "movieapp.anything", "firstBatch": []},
    "msg": "isdbgrid",
    "ismaster": True,
    "isWritablePrimary": True,
    "minWireVersion": 0,
    "maxWireVersion": 21,
    "maxBsonObjectSize": 16 * 1024 * 1024,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
}
_HEADER = struct.Struct("<iiii")
#: Wire protocol: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        document = bson.encode(_HELLO)
        while header := self.rfile.read(_HEADER.size):
            length, request, _, code = _HEADER.unpack(header)
            self.rfile.read(length - _HEADER.size)
            if code == _OP_QUERY:
                body, response = struct.pack("<iqii", 8, 0, 0, 1) + document, _OP_REPLY
            else:
                body, response = struct.pack("<iB", 0, 0) + document, _OP_MSG
            self.wfile.write(_HEADER.pack(_HEADER.size + len(body), 0, request, response) + body)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def mongos() -> Iterator[str]:
    """Run the server. Yields its URI, without a database name."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"mongodb://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()

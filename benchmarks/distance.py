"""Simulate a distant server: a TCP proxy that delays data in both directions.

python -m benchmarks.distance LISTEN TARGET MILLISECONDS    # ports on 127.0.0.1
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from benchmarks.harness import ROOT, wait_until
from tests.support.ports import free_port, listens

_HOST = "127.0.0.1"


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(65_536):
        loop.call_later(seconds, writer.write, data)
    loop.call_later(seconds, writer.close)


async def _serve(port: int, target: int, seconds: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * seconds)  # the TCP handshake
        there, back = await asyncio.open_connection(_HOST, target)
        with suppress(ConnectionError):
            await asyncio.gather(_carry(reader, back, seconds), _carry(there, writer, seconds))

    async with await asyncio.start_server(connected, _HOST, port) as server:
        await server.serve_forever()


@contextmanager
def far(target: int, milliseconds: float) -> Iterator[int]:
    """Run a proxy to `target` that delays each direction by `milliseconds`. Yield its port."""
    if not milliseconds:
        yield target
        return
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.distance", str(port), str(target), str(milliseconds)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        wait_until(lambda: listens(port), "the distance did not start", process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    listen, to, distance = sys.argv[1:]
    asyncio.run(_serve(int(listen), int(to), float(distance) / 1000))

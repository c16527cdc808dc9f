"""Run commands in forks of one process that has imported them: a command takes a second to start.

The child has its own environment, standard streams, and working directory, and runs the entry point of
`movieapp`. tests/e2e/test_package.py starts commands as users do.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

#: Packages whose modules are imported before the first command, for the commands import them when needed.
_PACKAGES = ("cli", "app")


def run(
    arguments: Sequence[str], environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run `movieapp` with these arguments until it exits, without standard input.

    Raises:
        subprocess.TimeoutExpired: it did not exit in time, and was killed.
    """
    ours, theirs = socket.socketpair()
    with ours, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        request = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "directory": str(Path.cwd()),
        }
        with theirs:
            socket.send_fds(_server(), [b"x"], [theirs.fileno(), out.fileno(), err.fileno()])
        ours.sendall(json.dumps(request).encode() + b"\n")
        with ours.makefile() as replies:
            ours.settimeout(timeout)
            child = int(replies.readline())
            try:
                code = int(replies.readline())
            except TimeoutError:
                os.kill(child, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["movieapp", *arguments], timeout) from None
        return subprocess.CompletedProcess(["movieapp", *arguments], code, _text(out), _text(err))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode().replace("\r\n", "\n")


@cache
def _server() -> socket.socket:
    """Start the process, which ends when this one closes the socket or ends."""
    ours, theirs = socket.socketpair()
    with theirs:
        started = subprocess.Popen(
            [sys.executable, "-c", f"import tests.support.command_server as s; s.serve({theirs.fileno()})"],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )

    def stop() -> None:
        ours.close()
        started.wait()

    atexit.register(stop)
    return ours


def serve(descriptor: int) -> None:
    """Import the commands, then fork for each request on the socket with this descriptor, until it closes."""
    for package in map(importlib.import_module, _PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(fileno=descriptor) as requests:
        while True:
            word, descriptors, _, _ = socket.recv_fds(requests, 1, 3)
            if not word:
                return
            if os.fork() == 0:
                break
            for each in descriptors:
                os.close(each)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    control, out, err = descriptors
    with socket.socket(fileno=control) as replies:
        with replies.makefile() as lines:
            request = json.loads(lines.readline())
        if child := os.fork():
            replies.sendall(b"%d\n" % child)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            replies.sendall(b"%d\n" % code)
            os._exit(0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    sys.argv = ["movieapp", *request["arguments"]]
    from cli.main import main

    main()

"""Faults on demand: what networks and payment gateways do to people, at the moment a test asks for it."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from typing import Any, NoReturn

from flask import request

from cli.dev.stripe_simulator.errors import StripeFault

KINDS = ("delay", "error", "drop_before", "drop_after", "malformed")


@dataclass
class Fault:
    """One fault.

    Attributes:
        match: method and beginning of the path, as "POST /v1/payment_intents".
        kind: delay (the answer comes late), error (an answer of `status` and nothing done), drop_before and
            drop_after (the connection ends before or after the work), malformed (an answer that is no JSON).
        seconds: of the delay.
        times: how many requests it meets.
    """

    match: str
    kind: str
    seconds: float = 1.0
    status: int = 500
    times: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise StripeFault(400, f"kind must be one of {', '.join(KINDS)}")


class Faults:
    """The faults that are waiting for their request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(self, body: dict[str, Any]) -> None:
        """Wait for a request with a new fault."""
        try:
            fault = Fault(**body)
        except TypeError as error:
            raise StripeFault(400, str(error)) from None
        with self._lock:
            self._waiting.append(fault)

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._waiting.clear()

    def take(self, line: str) -> Fault | None:
        """The fault that meets the request `line`, if one does."""
        with self._lock:
            for fault in self._waiting:
                if line.startswith(fault.match):
                    fault.times -= 1
                    if fault.times == 0:
                        self._waiting.remove(fault)
                    return fault
        return None


def drop_connection() -> NoReturn:
    """End the client's TCP connection without an answer."""
    connection: socket.socket = request.environ["gunicorn.socket"]
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError("dropped on demand")

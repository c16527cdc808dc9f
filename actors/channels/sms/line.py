"""Keep an SMS provider that is slow or unavailable from occupying every worker thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from actors.circuit import QUICK_SECONDS, SLOW_CONNECTIONS, SMS_PROVIDER, Circuit, ConnectionLimit
from actors.errors import DeliveryError, Postponed, Uncertain
from app.telemetry import metrics


class Unreachable(Postponed):
    """No connection to the provider: it certainly did not get the SMS."""


class Line:
    """The requests of all threads of a process to an SMS provider.

    While the provider takes longer than `QUICK_SECONDS`, one thread at a time sends. While it fails, one
    thread probes it at growing intervals. The other threads do other work.

    Args:
        provider: name of the provider in logs.
    """

    def __init__(self, provider: str) -> None:
        self._circuit = Circuit(provider, messages=SMS_PROVIDER, is_open=metrics.SMS_CIRCUIT)
        self._limit = ConnectionLimit(SMS_PROVIDER)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Send one request in this block.

        Raises:
            OutOfTurn: no request may be sent now.
        """
        probe = self._circuit.enter(QUICK_SECONDS)
        try:
            with (
                self._limit.connection(0 if probe else QUICK_SECONDS, SLOW_CONNECTIONS),
                self._watched(probe=probe),
            ):
                yield
        finally:
            if probe:
                self._circuit.leave()

    @contextmanager
    def _watched(self, *, probe: bool) -> Iterator[None]:
        started = time.monotonic()
        # Other threads must not wait for the timeout of this request to learn that the provider is slow.
        late = threading.Timer(QUICK_SECONDS, self._circuit.record_late)
        late.daemon = True
        late.start()
        try:
            yield
        except DeliveryError as error:
            seconds = time.monotonic() - started
            if isinstance(error, Unreachable):
                self._circuit.failed(error, probe=probe)
            elif isinstance(error, Uncertain) and seconds > QUICK_SECONDS:
                self._circuit.failed(Postponed("the SMS provider does not respond"), probe=probe)
            else:
                self._circuit.connected(seconds, logged_in=True)
            raise
        else:
            self._circuit.connected(time.monotonic() - started, logged_in=True)
        finally:
            late.cancel()

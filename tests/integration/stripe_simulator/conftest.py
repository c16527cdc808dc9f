"""Simulators under test: one shared by the tests of a module, and one for a single test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import stripe

from tests.support.ports import free_port
from tests.support.stripe_process import Receiver, Simulator, sdk

Start = Callable[..., Simulator]


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(free_port())
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Simulator]:
    simulator = Simulator(tmp_path_factory.mktemp("stripe"), receiver.port)
    simulator.start()
    yield simulator
    simulator.stop()


@pytest.fixture
def simulator(shared: Simulator) -> Iterator[Simulator]:
    """One process for all tests, with separate objects. Faults are cleared after each test."""
    yield shared
    requests.delete(f"{shared.url}/_simulator/faults", timeout=5)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a separate simulator for a test."""
    started: list[Simulator] = []

    def start(webhook_port: int | None = None) -> Simulator:
        started.append(Simulator(tmp_path, webhook_port))
        started[-1].start()
        return started[-1]

    yield start
    for simulator in started:
        simulator.stop()


@pytest.fixture
def client(simulator: Simulator) -> stripe.StripeClient:
    return sdk(simulator)

"""The process: kills, quick shutdown, failing starts."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
import stripe

from tests.integration.stripe_simulator.conftest import Start
from tests.support.stripe_process import Simulator, pay, sdk
from tests.support.wait import wait_for


def test_a_killed_simulator_keeps_everything_that_it_acknowledged(start: Start) -> None:
    simulator = start()
    simulator.control("clock", advance_seconds=1000)
    simulator.fault("drop_after")
    with pytest.raises(stripe.APIConnectionError):
        pay(sdk(simulator), key="k9")
    simulator.kill()
    simulator.start()
    client = sdk(simulator)
    again = pay(client, key="k9")
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert [found.id for found in client.v1.payment_intents.list().data] == [again.id]
    assert again.created - time.time() > 900
    simulator.control("reset")
    assert client.v1.payment_intents.list().data == []
    assert pay(client, key="k9").id != again.id


def test_the_simulator_stops_quickly_even_with_delayed_responses(start: Start) -> None:
    simulator = start()
    simulator.fault("delay", seconds=60, times=0)

    def attempt() -> None:
        with pytest.raises(stripe.APIConnectionError):
            pay(sdk(simulator, timeout=30))

    threads = [threading.Thread(target=attempt) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(simulator.state()["charges"]) == 3, 5, "nothing was charged")
    assert simulator.stop(grace=30) == 0, "it waited for its late answers"
    for thread in threads:
        thread.join()
    others = {path.name for path in simulator.directory.iterdir()} - {"output.log"}
    assert {name.removesuffix("-wal").removesuffix("-shm") for name in others} == {"stripe.sqlite3"}


def run(simulator: Simulator) -> subprocess.CompletedProcess[str]:
    return subprocess.run(simulator.command(), capture_output=True, text=True, timeout=20, check=False)


def test_a_failed_start_gives_the_reason_in_one_line(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path)
    with socket.create_server(("127.0.0.1", simulator.port)):
        done = run(simulator)
    assert done.returncode == 1
    problem = f"Cannot listen on 127.0.0.1:{simulator.port} (Address already in use)"
    assert done.stderr == f"Error: {problem}. Choose another --port.\n"
    simulator = Simulator(tmp_path / "nowhere")
    done = run(simulator)
    assert done.returncode == 1
    assert done.stderr == f"Error: {tmp_path}/nowhere/stripe.sqlite3: unable to open database file\n"

"""gunicorn, alone or through `movieapp serve`: threads, connections for each worker, and clean shutdown."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from app import models
from app.models import Transaction
from app.settings import Settings
from tests.support.commands import MOVIEAPP, environment
from tests.support.ports import free_port
from tests.support.processes import Process
from tests.support.stripe import StripeSimulator
from tests.support.wait import wait_for

ROOT = Path(__file__).parents[2]
GUNICORN = (sys.executable, "-m", "gunicorn")
WAYS = {
    "gunicorn --preload": (*GUNICORN, "--preload", "wsgi:app"),
    "movieapp serve": (*MOVIEAPP, "serve"),
}


def healthy(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).ok
    except requests.RequestException:
        return False


def pay(url: str, booking_id: str) -> Any:
    payment = {"user_id": "user_1", "booking_id": booking_id, "amount": 9, "payment_method": "credit_card"}
    return requests.post(f"{url}/payment/process", json=payment, timeout=30).json()["status"]


@pytest.mark.parametrize("way", WAYS)
def test_each_worker_accepts_payments_and_finishes_current_requests(
    rabbit_settings: Settings, stripe_simulator: StripeSimulator, tmp_path: Path, way: str
) -> None:
    settings = rabbit_settings.model_copy(update=stripe_simulator.settings | {"metrics_public": True})
    models.connect(settings)
    bind = f"127.0.0.1:{free_port()}"
    url = f"http://{bind}"
    command = [*WAYS[way], "--bind", bind]
    with (
        Process(command, tmp_path / "api.log", env=environment(settings), cwd=ROOT) as api,
        ThreadPoolExecutor() as client,
    ):
        api.wait_until(lambda: healthy(url))
        master = psutil.Process(api.pid)
        wait_for(lambda: len(master.children()) == 2, 20, "there are not two workers")
        workers = master.children()
        for paused in workers:
            paused.suspend()
            assert pay(url, f"BOOK-{paused.pid}") == "success"
            paused.resume()
        announced = Transaction.objects(outbox=[])
        wait_for(lambda: announced.count() == 2, 20, "not every worker reached the broker")
        found = requests.get(f"{url}/metrics", timeout=10).text
        assert re.findall(r"^movieapp_payments_total\{.*\} (.*)$", found, re.MULTILINE) == ["2.0"], "of both"

        workers[0].suspend()
        stripe_simulator.fault(match="POST /v1/payment_intents", kind="delay", seconds=2)
        response = client.submit(pay, url, "BOOK-1")
        wait_for(lambda: Transaction.objects(booking_id="BOOK-1", status="pending"), 20, "nobody pays")
        assert healthy(url), "a thread waits for the gateway, and another answers"
        workers[0].resume()
        api.signal(signal.SIGTERM)
        assert response.result() == "success"
        assert api.wait(60) == 0, api.output()


def printed_settings(settings: Settings, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GUNICORN, "--print-config", "wsgi:app"],
        cwd=ROOT,
        env=environment(settings) | changes,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_plain_gunicorn_runs_with_the_settings(settings: Settings) -> None:
    shown = printed_settings(settings, WEB_THREADS="12", METRICS_BIND="127.0.0.1:9999")
    assert shown.returncode == 0, shown.stderr
    printed = dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)
    printed = {name.strip(): value.strip() for name, value in printed.items()}
    assert printed["worker_class"] == "cli.gunicorn_worker.BufferingWorker"
    assert printed["threads"] == "12"
    assert printed["bind"] == "['127.0.0.1:8003', '127.0.0.1:9999']"
    assert (printed["timeout"], printed["graceful_timeout"]) == ("60", "32")


def test_plain_gunicorn_reports_a_wrong_setting_in_one_line(settings: Settings) -> None:
    refused = printed_settings(settings, WEB_THREADS="many")
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [refused.stderr.strip()]
    assert refused.stderr.startswith("movieapp: WEB_THREADS: ")

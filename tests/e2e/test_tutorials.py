"""Follow every tutorial literally, each with a separate system."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from app.settings import Settings
from tests.support.dev import Dev, clean_environment
from tests.support.documents import ROOT, examples
from tests.support.mail import MailSink
from tests.support.ports import free_port
from tests.support.stripe import StripeSimulator
from tests.support.tutorials import Shell, Step, missing, steps

#: Commands that start the system, each in a separate block.
_START = re.compile(r"(RABBITMQ_URL=\S+ )?make dev$", re.MULTILINE)

#: Replaced in tests by `PATH`.
_ACTIVATE = "source .venv/bin/activate"

#: Pages that need only a running `movieapp dev`.
WITH_A_SYSTEM = (
    "first-payment",
    "checkout-page",
    "stripe-test-account",
    "change-an-email",
    "break-it-and-find-it",
    "upgrade-and-roll-back",
)

#: Pages on which the reader restarts it.
RESTARTING = ("break-it-and-find-it",)

#: Commands that show a mail once it was sent. They only read, so a reader can run them again.
_TRACE = re.compile(r"^movieapp trace", re.MULTILINE)

#: How long a mail may take until `movieapp trace` shows it, on a loaded machine.
TRACE_SECONDS = 60

#: Jars of the Java example: Debian's librabbitmq-client-java.
_AMQP_CLIENT = Path("/usr/share/java/amqp-client.jar")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Dev]]:
    started: list[Dev] = []

    def start(**environment: str) -> Dev:
        shutil.copytree(ROOT / "email_templates", tmp_path / "email_templates")
        # In a clone, the templates that the reader edits are the ones in use.
        started.append(Dev(tmp_path, PYTHONPATH=str(tmp_path), **environment))
        started[-1].wait_until_healthy()
        return started[-1]

    yield start
    for dev in started:
        dev.close()


@pytest.mark.parametrize("name", WITH_A_SYSTEM)
def test_a_tutorial_works(name: str, tmp_path: Path, start: Callable[..., Dev]) -> None:
    dev = start()

    def restart() -> None:
        dev.stop(signal.SIGINT)
        dev.start()
        dev.wait_until_healthy()

    follow(
        f"docs/tutorials/{name}.md",
        tmp_path,
        here(dev),
        {"PYTHONPATH": str(tmp_path)},
        restart if name in RESTARTING else None,
    )
    dev.stop()


def test_the_booking_service_tutorial_works(
    tmp_path: Path,
    start: Callable[..., Dev],
    rabbit_settings: Settings,
    npm_install: Callable[[str, str], Path],
    lacking: Callable[[str], None],
) -> None:
    if not (shutil.which("java") and _AMQP_CLIENT.exists()):
        lacking("Java's AMQP client (Debian: apt-get install default-jdk-headless librabbitmq-client-java)")
    (tmp_path / "node_modules").symlink_to(npm_install("amqplib", "^0.10.9") / "node_modules")
    exchange, url = rabbit_settings.rabbitmq_exchange, rabbit_settings.rabbitmq_url
    dev = start(RABBITMQ_URL=url, RABBITMQ_EXCHANGE=exchange, NAMESPACE=rabbit_settings.namespace)
    with_ports = here(dev)

    def replace(text: str) -> str:
        text = re.sub(r"amqp://guest:guest@localhost:5672(/%2F)?", url, text)
        return with_ports(text.replace("movie_app_events", exchange))

    follow("docs/tutorials/connect-a-booking-service.md", tmp_path, replace, {})
    booked = [mail["subject"] for mail in dev.mails() if "Dune" in mail["subject"]]
    assert len(booked) >= 3
    dev.stop()


def test_the_production_tutorial_works(
    tmp_path: Path,
    rabbit_settings: Settings,
    redis_settings: Settings,
    stripe_simulator: StripeSimulator,
    mail_sink: MailSink,
) -> None:
    port = free_port()
    ours = rabbit_settings.model_dump() | stripe_simulator.settings | mail_sink.settings
    names = ["rabbitmq_url", "rabbitmq_exchange", "namespace", "mongodb_uri", "payment_gateway_url"]
    names += ["smtp_server", "smtp_port", "smtp_security"]
    # The environment overrides the page's `.env`.
    there = {name.upper(): str(ours[name]) for name in names} | {"REDIS_URL": redis_settings.redis_url}
    there |= {"METRICS_BIND": "none", "WORKER_METRICS_BIND": "none"}

    def replace(text: str) -> str:
        # The mail server of the tests supports no login.
        return re.sub(r"SMTP_(USERNAME|PASSWORD)=.*\n", "", text).replace("8003", str(port))

    follow("docs/tutorials/go-to-production.md", tmp_path, replace, there)


def here(dev: Dev) -> Callable[[str], str]:
    """Return the text with the ports of `dev`."""
    ports = {"8003": dev.port, "1080": dev.inbox, "1025": dev.smtp}

    def replace(text: str) -> str:
        for port, ours in ports.items():
            text = re.sub(rf"\b{port}\b", str(ours), text)
        return text

    return replace


def follow(
    page: str,
    directory: Path,
    replace: Callable[[str], str],
    environment: Mapping[str, str],
    restart: Callable[[], None] | None = None,
) -> None:
    """Run every step of a page in `directory`.

    Args:
        page: the tutorial.
        directory: where the reader works.
        replace: puts the test's ports into a text.
        environment: more variables of the reader's shell.
        restart: what `make dev` does on a page that begins with a running system.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with Shell(directory, clean_environment() | {"PATH": path} | dict(environment)) as shell:
        for step in steps(page):
            if step.file:
                (directory / step.file).write_text(replace(step.text))
            elif _START.match(step.text):
                if restart:
                    restart()
            elif step.text.strip() != _ACTIVATE:
                printed, code = run(shell, step, replace)
                assert code == step.exit_code, f"{step.text}\nprinted:\n{printed}"
                assert missing(step.expected or "", printed) is None, f"{step.text}\nprinted:\n{printed}"


def run(shell: Shell, step: Step, replace: Callable[[str], str]) -> tuple[str, int]:
    """Run a step. Repeat it, as a reader does, until the mail that it shows has arrived."""
    deadline = time.monotonic() + TRACE_SECONDS
    while True:
        printed, code = shell.run(replace(step.text))
        complete = missing(step.expected or "", printed) is None
        if complete or not _TRACE.search(step.text) or time.monotonic() > deadline:
            return printed, code


def test_every_tutorial_is_followed() -> None:
    pages = {page.stem for page in (ROOT / "docs/tutorials").glob("*.md")} - {"README"}
    assert pages == {*WITH_A_SYSTEM, "connect-a-booking-service", "go-to-production"}


@pytest.mark.parametrize("page", sorted((ROOT / "docs/tutorials").glob("*.md")), ids=lambda page: page.stem)
def test_blocks_are_run_or_output(page: Path) -> None:
    kinds = {language for language, _ in examples(str(page.relative_to(ROOT)), *_ANY)}
    assert kinds <= {"sh", "text", "console"} | _FILES


#: Languages of files that tutorials have the reader write.
_FILES = {"python", "js", "java", "html", "json"}
_ANY = (*_FILES, "sh", "text", "console", "yaml", "promql")

"""Mail servers, their certificates, and workers on the stub broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app import models
from app.settings import Settings
from tests.support.actors import StubWorker
from tests.support.mail import MailSink
from tests.support.smtpd import Smtpd, certificate, run
from tests.support.twilio import FakeTwilio, running_twilio


@pytest.fixture(scope="session")
def localhost_pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine."""
    return certificate(tmp_path_factory.mktemp("localhost"), "localhost")


@pytest.fixture(scope="session")
def elsewhere_pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for another host name."""
    return certificate(tmp_path_factory.mktemp("elsewhere"), "mail.example.com")


@pytest.fixture(scope="session")
def expired_pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An expired certificate for this machine."""
    return certificate(tmp_path_factory.mktemp("expired"), "localhost", expired=True)


@pytest.fixture
def smtpd() -> Iterator[Smtpd]:
    """A scripted mail server without TLS."""
    with run("none") as server:
        yield server


@pytest.fixture
def twilio() -> Iterator[FakeTwilio]:
    with running_twilio() as server:
        yield server


@pytest.fixture
def make_stub(stored_settings: Settings, mail_sink: MailSink) -> Iterator[Any]:
    """Start a worker that sends mail to `mail_sink`; keyword arguments change its settings."""
    models.connect(stored_settings)
    stubs: list[StubWorker] = []

    def make(
        *, sweeping: bool = False, queues: set[str] | None = None, threads: int = 2, **changes: Any
    ) -> StubWorker:
        changed = stored_settings.model_copy(update=mail_sink.settings | changes)
        stubs.append(StubWorker(changed, sweeping=sweeping, queues=queues, threads=threads))
        return stubs[-1]

    yield make
    for stub in stubs:
        stub.worker.stop()
        stub.broker.close()

"""Workers on the stub broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app import models
from app.settings import Settings
from tests.support.actors import StubWorker
from tests.support.mail import MailSink


@pytest.fixture
def make_stub(stored_settings: Settings, mail_sink: MailSink) -> Iterator[Any]:
    """Start a worker whose mail goes to `mail_sink`; keyword arguments change its settings."""
    models.connect(stored_settings)
    stubs: list[StubWorker] = []

    def make(*, sweeping: bool = False, queues: set[str] | None = None, **changes: Any) -> StubWorker:
        changed = stored_settings.model_copy(update=mail_sink.settings | changes)
        stubs.append(StubWorker(changed, sweeping=sweeping, queues=queues))
        return stubs[-1]

    yield make
    for stub in stubs:
        stub.worker.stop()
        stub.broker.close()

"""A delivery that can bounce, and a mailbox for bounces on a real Dovecot."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from pydantic import SecretStr

from app import models
from app.clock import utcnow
from app.models import Notification
from app.settings import Settings
from tests.support.actors import confirmation, record_delivery
from tests.support.bounces import MESSAGE_ID, RECIPIENT
from tests.support.dovecot import Dovecot

MakeMail = Callable[..., Notification]


@pytest.fixture
def make_mail(stored_settings: Settings) -> MakeMail:
    """Record a mail that was sent; keyword arguments change the record."""
    models.connect(stored_settings)

    def make(event_id: str = "evt_1", **changes: Any) -> Notification:
        mail = record_delivery(
            confirmation(event_id=event_id, user_email=changes.get("recipient", RECIPIENT))
        )
        fields: dict[str, Any] = {
            "status": "sent",
            "sent_at": utcnow(),
            "message_id": MESSAGE_ID,
            "due_at": None,
        }
        fields |= changes
        Notification.objects(id=mail.id).update_one(
            **{f"set__{name}": value for name, value in fields.items()}
        )
        mail.reload()
        return mail

    return make


@pytest.fixture
def make_dovecot(localhost_pem: Path, lacking: Callable[[str], NoReturn]) -> Iterator[Callable[..., Dovecot]]:
    if reason := Dovecot.lacks():
        lacking(reason)
    servers: list[Dovecot] = []
    # Not in pytest's directory, which other users can't enter.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)

        def make(**changes: str) -> Dovecot:
            servers.append(Dovecot(Path(folder) / str(len(servers)), localhost_pem, **changes))
            servers[-1].start()
            return servers[-1]

        yield make
        for server in servers:
            server.stop()


@pytest.fixture
def dovecot(make_dovecot: Callable[..., Dovecot]) -> Dovecot:
    return make_dovecot()


def reading(settings: Settings, dovecot: Dovecot, pem: Path, **changes: Any) -> Settings:
    """Return settings of a process that reads bounces from `dovecot`; keyword arguments change them."""
    ours = {"bounce_mailbox_url": SecretStr(dovecot.url), "bounce_mailbox_ca_file": pem}
    return settings.model_copy(update=ours | changes)

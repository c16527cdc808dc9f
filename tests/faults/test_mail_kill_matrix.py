"""SIGKILL at every boundary between two servers on an event's way to its mail; then the mail, once.

A worker dies at the first boundary with one event in hand, its successor at the second with the next, until
one gets through. A last worker, whose clock is past every lease, has to find what they left.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
import redis

from app import models
from app.clock import utcnow
from app.events.samples import sample
from app.models import Notification
from tests.support.events import publish
from tests.support.servers import FailingWorker
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from app.settings import Settings
    from tests.support.mail import MailSink

#: Between the server's 250 and the note of it in Redis: the window that docs/delivery.md names.
WINDOW = "before Redis SET"


def confirmation(number: int) -> dict[str, Any]:
    return sample("booking.confirmed") | {
        "event_id": f"evt_{number}",
        "booking_id": f"BOOK-{number}",
        "user_email": f"jane.{number}@example.com",
        "showtime": (utcnow() + timedelta(days=2)).isoformat(),
    }


@pytest.mark.timeout(600)
def test_an_event_whose_worker_dies_anywhere_is_mailed(
    rabbit_settings: Settings, mail_sink: MailSink, tmp_path: Path
) -> None:
    settings = rabbit_settings.model_copy(update=mail_sink.settings)
    models.connect(settings)
    store = redis.Redis.from_url(settings.redis_url, decode_responses=True)

    def processed(number: int) -> bool:
        return store.get(f"{settings.namespace}event:evt_{number}:status") == "processed"

    died: dict[int, str] = {}
    for at in count(1):
        with FailingWorker(tmp_path, settings) as worker:
            # What its predecessor had in hand comes again, and is left to whom its lease lets have it.
            worker.wait_until(lambda at=at: at == 1 or processed(at - 1))  # type: ignore[misc]
            worker.failpoints.arm(at)
            publish(settings, confirmation(at))
            wait_for(
                lambda at=at, worker=worker: worker.failpoints.fired() or processed(at),  # type: ignore[misc]
                30,
                worker.output,
            )
            if not worker.failpoints.disarm():
                break
            died[at] = worker.failpoints.last()
    store.close()

    with FailingWorker(tmp_path, settings, hours=1) as worker:
        wait_for(lambda: set(Notification.objects.scalar("status")) == {"sent"}, 60, worker.output)
    assert Notification.objects.count() == len(died) + 1
    assert WINDOW in died.values()
    told = {name.partition(" ")[2] for name in died.values()}
    assert {"MongoDB insert notification_logs", "MongoDB update notification_logs"} <= told, died

    mails = Counter(mail["To"] for mail in mail_sink.mails)
    ids = {(mail["To"], mail["Message-ID"]) for mail in mail_sink.mails}
    assert len(mails) == len(ids) == len(died) + 1, "every event, and copies of a mail under one Message-ID"
    doubled = {name for number, name in died.items() if mails[f"jane.{number}@example.com"] > 1}
    assert doubled == {WINDOW}

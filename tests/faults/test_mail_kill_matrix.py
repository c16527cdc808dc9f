"""SIGKILL at every boundary between two servers, from an event to its mail; then one mail.

A worker dies at the first boundary with one event in hand, its successor at the second with the next, until
one gets through. A last worker, whose clock is past every lease, has to find what they left.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

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

#: Between the server's 250 and its record in Redis: the window that docs/delivery.md describes.
WINDOW = "before Redis SET"


#: Every event plans a reminder of a show in two days. The lease has its maximum length: on a loaded machine
#: the test takes minutes, and otherwise a worker would be killed during the second attempt of an earlier
#: event.
SETTINGS = {"reminder_hours": 1.0, "smtp_timeout": 30.0}


def event(number: int) -> dict[str, Any]:
    """Return a confirmation and an update in turn, which take the same steps."""
    return sample(("booking.confirmed", "booking.updated")[number % 2]) | {
        "event_id": f"evt_{number}",
        "booking_id": f"BOOK-{number}",
        "user_email": f"jane.{number}@example.com",
        "showtime": (utcnow() + timedelta(days=2)).isoformat(),
    }


def test_an_event_is_mailed_wherever_its_worker_dies(
    rabbit_settings: Settings, mail_sink: MailSink, tmp_path: Path
) -> None:
    settings = rabbit_settings.model_copy(update=mail_sink.settings | SETTINGS)
    models.connect(settings)
    store = redis.Redis.from_url(settings.redis_url, decode_responses=True)

    def processed(number: int) -> bool:
        return store.get(f"{settings.namespace}event:evt_{number}:status") == "processed"

    died: dict[int, str] = {}
    for at in count(1):
        with FailingWorker(tmp_path, settings) as worker:
            # Messages of the killed worker are redelivered, and their leases decide who may handle them.
            worker.wait_until(lambda at=at: at == 1 or processed(at - 1))  # type: ignore[misc]
            worker.failpoints.arm(at)
            publish(settings, event(at))
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
    assert Notification.objects(upcoming_showtime__exists=True).count() == len(died) + 1
    assert WINDOW in died.values()
    found = {name.partition(" ")[2] for name in died.values()}
    assert {"MongoDB insert notification_logs", "MongoDB update notification_logs"} <= found, died

    mails = Counter(mail["To"] for mail in mail_sink.mails)
    ids = {(mail["To"], mail["Message-ID"]) for mail in mail_sink.mails}
    assert len(mails) == len(ids) == len(died) + 1, "every event, and copies of a mail under one Message-ID"
    doubled = {name for number, name in died.items() if mails[f"jane.{number}@example.com"] > 1}
    assert doubled == {WINDOW}

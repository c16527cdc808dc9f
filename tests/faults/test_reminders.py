"""Reminders with workers killed at every step, concurrent workers, and duplicate and reordered events."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from actors import deliveries
from app import models
from app.channels import ChannelName
from app.clock import iso, utcnow
from app.events.samples import sample
from app.models import Notification
from tests.support.events import publish
from tests.support.servers import FailingWorker
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from app.settings import Settings
    from tests.support.mail import MailSink

#: The workers' setting. The shows in these tests begin later.
HOURS = 24


def booking(
    number: int, event_type: str = "booking.confirmed", minute: int = 0, **more: Any
) -> dict[str, Any]:
    return sample(event_type) | {
        "event_id": f"evt_{number}_{event_type}_{minute}",
        "booking_id": f"BOOK-{number}",
        "user_email": f"jane.{number}@example.com",
        "timestamp": iso(utcnow().replace(microsecond=0) + timedelta(minutes=minute)),
        **more,
    }


def addresses(numbers: Iterable[int]) -> set[str]:
    return {f"jane.{number}@example.com" for number in numbers}


def reminder_mails(mail_sink: MailSink) -> Counter[str]:
    return Counter(
        mail["To"].strip("<>") for mail in mail_sink.mails if mail["Subject"].startswith("Reminder: ")
    )


def unfinished() -> int:
    return int(Notification.objects(due_at__exists=True).count())


# --- A worker is killed at every exchange of its sweep


def plan(number: int) -> Notification:
    """Record a confirmation that was sent an hour ago and whose reminder has been due for half an hour."""
    showtime = utcnow() + timedelta(hours=HOURS, minutes=-30)
    event = booking(number, showtime=iso(showtime))
    notification, _ = deliveries.record(
        event, ChannelName.EMAIL, "booking_confirmation", event["user_email"], upcoming_showtime=showtime
    )
    deliveries.sent(notification, utcnow(), created_at=utcnow() - timedelta(hours=1))
    return notification


def test_exactly_one_reminder_is_sent_wherever_its_worker_is_killed(
    rabbit_settings: Settings, mail_sink: MailSink, tmp_path: Path
) -> None:
    settings = rabbit_settings.model_copy(update=mail_sink.settings | {"reminder_hours": float(HOURS)})
    models.connect(settings)
    with FailingWorker(tmp_path, settings) as worker:  # declares the queues
        worker.wait_until((tmp_path / "beat").exists)

    died: dict[int, str] = {}
    interrupted: dict[int, Notification] = {}
    for at in count(1):
        planned = plan(at)
        with FailingWorker(tmp_path, settings) as worker:
            worker.failpoints.arm(at, "reminders")
            worker.wait_until(worker.failpoints.fired)
            died[at] = worker.failpoints.last()
        planned.reload()
        if planned.upcoming_showtime is None and died[at].startswith("before MongoDB find"):
            break  # it finished this round and died in the next
        # Left for the last worker, because the next worker must be killed at the next step of its own
        # reminder.
        if planned.upcoming_showtime:
            interrupted[at] = planned
            deliveries.forget_showtime(planned.id, planned.upcoming_showtime)

    steps = {" ".join(name.split()[1:3]) for name in died.values()}
    assert steps == {"MongoDB find", "MongoDB insert", "MongoDB update", "RabbitMQ publish"}
    for planned in interrupted.values():
        Notification.objects(id=planned.id).update_one(set__upcoming_showtime=planned.upcoming_showtime)
    with FailingWorker(tmp_path, settings, hours=1) as worker:
        wait_for(lambda: set(reminder_mails(mail_sink)) == addresses(died), 90, worker.output)
        wait_for(lambda: unfinished() == 0, 60, worker.output)
    assert Notification.objects(event_type="booking.reminder").count() == len(died)
    assert Notification.objects(upcoming_showtime__exists=True).count() == 0
    ids = {(mail["To"], mail["Message-ID"]) for mail in mail_sink.mails}
    assert len(ids) == len(died)
    # After the message is queued, another thread may be sending its mail, so the kill may fall into the known
    # window.
    queued = [number for number in died if number >= steps_to(died, "after RabbitMQ publish")]
    mails = reminder_mails(mail_sink)
    assert {number for number in died if mails[f"jane.{number}@example.com"] > 1} <= set(queued)


def steps_to(died: dict[int, str], step: str) -> int:
    return next(number for number, name in died.items() if name == step)


# --- Reordered events, and two concurrent workers


def test_duplicate_and_reordered_events_lead_to_one_reminder_of_the_last_state(
    rabbit_settings: Settings, mail_sink: MailSink, tmp_path: Path
) -> None:
    settings = rabbit_settings.model_copy(update=mail_sink.settings | {"reminder_hours": float(HOURS)})
    models.connect(settings)
    total, cancelled, kills = 12, {3, 7}, 3
    first, last = utcnow() + timedelta(hours=HOURS + 1), utcnow() + timedelta(hours=HOURS + 2)
    events = []
    for number in range(total):
        moved = {"previous": {"showtime": iso(first)}, "showtime": iso(last)}
        events += [
            booking(number, showtime=iso(first)),
            booking(number, "booking.updated", 1, **moved, screen="Screen 8"),
            booking(number, "booking.updated", 2, **moved, screen="Screen 9"),
        ]
    events += [booking(number, "booking.cancelled", 3) for number in cancelled]
    chance = random.Random(4)  # noqa: S311 - no secret
    chance.shuffle(events)

    worker = FailingWorker(tmp_path, settings)
    worker.wait_until((tmp_path / "beat").exists)
    for kill in range(kills):
        worker.failpoints.arm(10 * kill + 5)
        # Each part is sent twice, the second time after a worker was killed while it processed some.
        publish(settings, *events[kill::kills])
        worker.wait_until(worker.failpoints.fired)
        worker.kill()
        worker = FailingWorker(tmp_path, settings)
        publish(settings, *events[kill::kills])
    wait_for(lambda: len(Notification.objects.distinct("event_id")) == len(events), 60, worker.output)
    worker.stop()

    # The deliveries of killed workers and the reminders are due for two workers at the same time.
    others = [tmp_path / name for name in ("one", "two")]
    for directory in others:
        directory.mkdir()
    with FailingWorker(others[0], settings, hours=3) as one, FailingWorker(others[1], settings, hours=3):
        wait_for(lambda: Notification.objects(upcoming_showtime__exists=True).count() == 0, 60, one.output)
        wait_for(lambda: unfinished() == 0, 90, one.output)

    reminded = set(range(total)) - cancelled
    assert reminder_mails(mail_sink) == Counter(addresses(reminded))
    records = Notification.objects(event_type="booking.reminder")
    assert {record.booking_id for record in records} == {f"BOOK-{number}" for number in reminded}
    assert {record.event_data["screen"] for record in records} == {"Screen 9"}
    updates = Notification.objects(event_type="booking.updated")
    final = [record for record in updates if record.event_id.endswith("_2")]
    found = [record for record in final if record.event_data["booking_id"] not in _ids(cancelled)]
    assert {record.status for record in found} == {"sent"}, "the last state reached everybody"
    skipped = {record.error_message for record in updates if record.status == "skipped"}
    assert skipped <= {
        "a later state of the booking was sent before",
        "the booking's cancellation was sent before",
    }
    mails = Counter((mail["To"], mail["Message-ID"]) for mail in mail_sink.mails)
    assert sum(mails.values()) - len(mails) <= 2 * kills, "only what a killed worker had in hand"


def _ids(numbers: Iterable[int]) -> set[str]:
    return {f"BOOK-{number}" for number in numbers}

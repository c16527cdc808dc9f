"""Workers and servers that die while mails are sent: every event is mailed, and possible duplicates are
known.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import dramatiq
import pika
import pytest

from actors import deliveries
from actors.declare import worker_broker
from app import models
from app.channels import ChannelName
from app.events.samples import sample
from app.messaging.publisher import OutgoingEvent, PublishError, RabbitPublisher
from app.models import Notification
from app.settings import Settings
from tests.support.mail import MailSink
from tests.support.servers import MongoServer, RabbitServer, RedisServer, WorkerProcess
from tests.support.services import with_database
from tests.support.smtpd import CUT, run
from tests.support.wait import wait_for

SAMPLE = sample("payment.success")

THREADS = 4
QUEUES = ("notification.payment_events", "notification.email")


def event(number: int) -> dict[str, Any]:
    ids = {"event_id": f"evt_{number}", "booking_id": f"BOOK-{number}"}
    return SAMPLE | ids | {"user_email": f"jane.doe.{number}@example.com"}


def publish(settings: Settings, *events: dict[str, Any]) -> None:
    """Publish events until each is confirmed, as the outbox does."""
    publisher = RabbitPublisher(settings)
    for event in events:
        outgoing = OutgoingEvent(event["event_id"], event["event_type"], json.dumps(event))
        while True:
            try:
                publisher.publish(outgoing)
                break
            except PublishError:
                time.sleep(0.2)
    publisher.close()


def messages(settings: Settings, *queues: str) -> int:
    """Return the number of messages in `queues`."""
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        channel = connection.channel()
        names = [settings.namespace + queue for queue in queues]
        return sum(channel.queue_declare(name, passive=True).method.message_count for name in names)


def statuses() -> Counter[str]:
    return Counter(Notification.objects.scalar("status"))


def unsent() -> str:
    """Return the deliveries that are not sent, for the message of a failed test."""
    return "\n".join(str(found.to_mongo().to_dict()) for found in Notification.objects(status__ne="sent"))


# --- Killed workers


def test_no_event_is_lost_when_workers_and_rabbitmq_are_killed(
    stored_settings: Settings,
    private_rabbitmq: RabbitServer,
    mail_sink: MailSink,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    settings = stored_settings.model_copy(
        # The lease derived from this timeout is 27 seconds.
        update=mail_sink.settings | {"rabbitmq_url": private_rabbitmq.url, "smtp_timeout": 1.0}
    )
    models.connect(settings)
    total, kills = 1_000, 10
    chance = random.Random(1)  # noqa: S311 - no secret
    events = [event(number) for number in range(total)]
    events += chance.sample(events, total // 4)
    chance.shuffle(events)

    def work() -> WorkerProcess:
        return WorkerProcess(tmp_path, settings, THREADS)

    worker = work()
    publish(settings, events[0])
    mail_sink.wait(1, 30)
    private_rabbitmq.settle()
    publishing = threading.Thread(target=publish, args=(settings, *events))
    publishing.start()
    for kill in range(1, kills + 1):
        mail_sink.wait(kill * 65, 60)
        worker.kill()
        worker = work()
        if kill == kills // 2:
            private_rabbitmq.kill()
            private_rabbitmq.start()
    publishing.join()
    # A delivery whose message is lost is queued again only after five minutes; none of these is.
    wait_for(lambda: statuses() == {"sent": total}, 240, lambda: f"{unsent()}\n{worker.output()}")
    # Only repeated events and messages of deliveries that another worker holds are still queued.
    waiting = (*QUEUES, *(f"{queue}.DQ" for queue in QUEUES))
    wait_for(lambda: messages(settings, *waiting) == 0, 90, "messages are left")
    assert worker.stop() == 0

    mails = Counter(mail["To"] for mail in mail_sink.mails)
    ids = {(mail["To"], mail["Message-ID"]) for mail in mail_sink.mails}
    doubled = sum(mails.values()) - total
    record_property("doubled", doubled)
    print(  # noqa: T201
        f"{total} events, {len(events)} published, {kills} kills: {doubled} mails doubled"
    )
    assert len(mails) == total, "every event was mailed"
    assert len(ids) == total, "both copies of a doubled mail have the same Message-ID"
    assert doubled <= kills * THREADS, "only what a killed worker had in hand"
    assert messages(settings, *(f"{queue}.XQ" for queue in QUEUES)) == 0


def test_a_worker_killed_while_rabbitmq_takes_no_message_delays_its_sweeps_delivery_by_seconds(
    stored_settings: Settings, private_rabbitmq: RabbitServer, mail_sink: MailSink, tmp_path: Path
) -> None:
    settings = stored_settings.model_copy(
        update=mail_sink.settings | {"rabbitmq_url": private_rabbitmq.url, "smtp_timeout": 1.0}
    )
    models.connect(settings)
    worker = WorkerProcess(tmp_path, settings, THREADS)
    worker.wait_until_it_works()
    os.killpg(private_rabbitmq.pid, signal.SIGSTOP)
    try:
        # Of an earlier worker whose lease has just ended.
        lost, _ = deliveries.record(
            event(1), ChannelName.EMAIL, "payment_success", event(1)["user_email"], timedelta(seconds=-1)
        )
        worker.wait_until(lambda: statuses() == {"queued": 1})
        worker.kill()
    finally:
        os.killpg(private_rabbitmq.pid, signal.SIGCONT)
    worker = WorkerProcess(tmp_path, settings, THREADS)
    wait_for(lambda: statuses() == {"sent": 1}, 90, lambda: f"{unsent()}\n{worker.output()}")
    assert worker.stop() == 0
    assert [mail["To"] for mail in mail_sink.mails] == [lost.recipient]


# --- Stopped workers


def test_a_stopped_worker_finishes_its_current_mails_and_leaves_the_rest_queued(
    rabbit_settings: Settings, mail_sink: MailSink, tmp_path: Path
) -> None:
    settings = rabbit_settings.model_copy(update=mail_sink.settings)
    models.connect(settings)
    mail_sink.seconds = 1.0
    worker = WorkerProcess(tmp_path, settings, THREADS)
    total = 30
    publish(settings, *(event(number) for number in range(total)))
    worker.wait_until(lambda: len(mail_sink.mails) > THREADS and mail_sink.in_hand == THREADS)
    worker.signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert mail_sink.in_hand == 0
    finished = len(mail_sink.mails)
    assert finished < total
    found = statuses()
    assert (found["sent"], found["sending"]) == (finished, 0)

    mail_sink.seconds = 0.0
    worker = WorkerProcess(tmp_path, settings, THREADS)
    worker.wait_until(lambda: statuses() == {"sent": total})
    assert worker.stop() == 0
    assert len({mail["To"] for mail in mail_sink.mails}) == len(mail_sink.mails) == total


def test_a_worker_whose_mail_server_hangs_stops_before_the_server_replies(
    rabbit_settings: Settings, mail_sink: MailSink, tmp_path: Path
) -> None:
    settings = rabbit_settings.model_copy(update=mail_sink.settings)
    models.connect(settings)
    mail_sink.seconds = 90.0
    worker = WorkerProcess(tmp_path, settings, THREADS)
    publish(settings, *(event(number) for number in range(2 * THREADS)))
    worker.wait_until(lambda: mail_sink.in_hand == THREADS)
    worker.signal(signal.SIGTERM)
    assert worker.wait(60) is not None
    assert mail_sink.in_hand == THREADS, "it did not wait for the mail server's replies"


# --- Unavailable servers


class Failures(dramatiq.Middleware):
    """Return the exceptions that actors raised."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def after_process_message(self, broker, message, *, result=None, exception=None):  # type: ignore[no-untyped-def]
        if exception is not None:
            self.errors.append(exception)


@contextmanager
def working(settings: Settings) -> Iterator[Failures]:
    """Run a worker in this process."""
    models.connect(settings)
    broker = worker_broker(settings)
    failures = Failures()
    broker.add_middleware(failures)
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=THREADS)
    worker.start()
    try:
        yield failures
    finally:
        worker.stop()
        broker.close()


def test_without_redis_each_mail_is_still_sent_once(
    rabbit_settings: Settings, mail_sink: MailSink, server_dir: Path
) -> None:
    redis = RedisServer(server_dir / "redis")
    redis.start()
    settings = rabbit_settings.model_copy(update=mail_sink.settings | {"redis_url": redis.url})
    with working(settings):
        publish(settings, event(1))
        mail_sink.wait(1)
        redis.kill()
        publish(settings, event(1), event(2), event(2), event(3))
        mail_sink.wait(3)
        redis.start()
        publish(settings, event(1), event(2), event(3), event(4))
        mail_sink.wait(4)
        wait_for(lambda: statuses() == {"sent": 4}, 10, lambda: str(statuses()))
    redis.stop()
    assert len({mail["To"] for mail in mail_sink.mails}) == len(mail_sink.mails) == 4


@pytest.fixture
def mongodb(server_dir: Path) -> Iterator[MongoServer]:
    """A SecantusDB server that the test may kill."""
    server = MongoServer(server_dir / "mongodb")
    server.start()
    yield server
    models.disconnect()
    server.stop()


def test_mails_are_sent_after_mongodb_recovers_and_none_is_lost(
    rabbit_settings: Settings, mail_sink: MailSink, mongodb: MongoServer
) -> None:
    settings = rabbit_settings.model_copy(
        update=mail_sink.settings | {"mongodb_uri": with_database(mongodb.url, "movieapp")}
    )
    with working(settings) as failures:
        publish(settings, event(1))
        mail_sink.wait(1)
        mongodb.kill()
        publish(settings, *(event(number) for number in range(2, 12)))
        # Each mail has been tried, and some are retried.
        wait_for(lambda: len(failures.errors) > 12, 60, lambda: f"{len(failures.errors)} failures")
        assert len(mail_sink.mails) == 1
        mongodb.start()
        mail_sink.wait(11, 60)
        wait_for(lambda: statuses()["sent"] >= 10, 30, lambda: str(statuses()))
    assert len({mail["To"] for mail in mail_sink.mails}) == len(mail_sink.mails) == 11
    assert messages(settings, *(f"{queue}.XQ" for queue in QUEUES)) == 0


def test_a_mail_without_a_reply_is_not_resent_when_mongodb_fails(
    rabbit_settings: Settings,
    mongodb: MongoServer,
    dead_letters: Callable[[Settings, str], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end, failed = deliveries.end, []

    def watched(*what: Any) -> None:
        try:
            end(*what)
        except Exception as error:
            failed.append(error)
            raise

    monkeypatch.setattr(deliveries, "end", watched)
    with run("none") as smtpd:
        smtpd.script["message"] = [CUT]
        smtpd.on_message = mongodb.stop
        changes = {"smtp_server": "127.0.0.1", "smtp_port": smtpd.port, "smtp_security": "none"}
        uri = with_database(mongodb.url, "movieapp")
        settings = rabbit_settings.model_copy(update=changes | {"mongodb_uri": uri})
        with working(settings):
            publish(settings, event(1))
            wait_for(lambda: failed, 30, "it was not tried to record it")
            mongodb.start()
            wait_for(lambda: dead_letters(settings, "notification.email") == 1, 60, "no letter")
            assert statuses() == {"uncertain": 1}
        assert smtpd.count("message") == 1


def test_a_mail_accepted_during_a_mongodb_outage_is_recorded_after_recovery(
    rabbit_settings: Settings, mail_sink: MailSink, mongodb: MongoServer
) -> None:
    settings = rabbit_settings.model_copy(
        update=mail_sink.settings | {"mongodb_uri": with_database(mongodb.url, "movieapp")}
    )
    # Stopped, not killed, because SecantusDB may lose its last writes.
    stopped = threading.Event()

    def stop() -> None:
        mongodb.stop()
        stopped.set()

    mail_sink.on_mail = stop
    with working(settings):
        publish(settings, event(1))
        mail_sink.wait(1)
        assert stopped.wait(60)
        mongodb.start()
        wait_for(lambda: statuses() == {"sent": 1}, 30, lambda: str(statuses()))
        publish(settings, event(1))
        mail_sink.on_mail = lambda: None
        publish(settings, event(2))
        mail_sink.wait(2)
    assert len({mail["To"] for mail in mail_sink.mails}) == len(mail_sink.mails) == 2

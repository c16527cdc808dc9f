"""`movieapp dead-letters`, on both brokers, as an operator runs it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import dramatiq
import pytest

from actors.declare import worker_broker
from app import models
from app.clock import utcnow
from app.events.samples import sample
from app.messaging.dead_letters import open_dead_letters
from app.models import Attempt, Notification
from app.operations.dead_letters import Case, Selection, find
from app.settings import Settings
from tests.support.commands import MOVIEAPP, environment, movieapp
from tests.support.dead_letters import bury, delivery_message
from tests.support.mail import MailSink
from tests.support.terminal import run_on_terminal
from tests.support.wait import wait_for

EVENT: dict[str, Any] = sample("booking.cancelled")

#: For cases that do not depend on the broker, because starting a process for each command is slow.
on_one_broker = pytest.mark.parametrize("broker_settings", ["rabbitmq"], indirect=True)


@pytest.fixture
def stack(broker_settings: Settings) -> Settings:
    """Settings of both brokers, with MongoDB."""
    models.connect(broker_settings)
    return broker_settings


@pytest.fixture
def worker(stack: Settings, mail_sink: MailSink) -> Iterator[Callable[[], None]]:
    """Starts a worker in this process."""
    started: list[Any] = []

    def start() -> None:
        broker = worker_broker(stack.model_copy(update=mail_sink.settings))
        worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
        started.extend((broker, worker))
        worker.start()

    yield start
    if started:
        broker, worker = started
        worker.stop()
        broker.close()


def delivery(status: str, number: int = 0, **fields: Any) -> Notification:
    """A mail delivery that ended with a reply of the server."""
    reply = "550 5.1.1 no such user"
    notification = Notification(
        event_id=f"evt_{number}",
        event_type=EVENT["event_type"],
        notification_type="email",
        status=status,
        booking_id=EVENT["booking_id"],
        recipient=EVENT["user_email"],
        template="booking_cancellation",
        event_data=EVENT | {"event_id": f"evt_{number}"},
        created_at=utcnow(),
        retry_count=5,
        error_message=reply,
        attempts=[Attempt(at=utcnow(), outcome=status, detail=reply)],
        **fields,
    )
    notification.save()
    return notification


def bury_delivery(stack: Settings, *notifications: Notification, **options: Any) -> None:
    bodies = [delivery_message(stack, str(found.id), **options) for found in notifications]
    bury(stack, "notification.email", bodies)


def dead(stack: Settings, queue: str) -> int:
    with closing(open_dead_letters(stack)) as letters:
        return letters.count(stack.namespace + queue)


def listed(stack: Settings, *arguments: str) -> Any:
    done = movieapp(stack, "dead-letters", "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@on_one_broker
def test_listing_no_dead_letters_succeeds(stack: Settings) -> None:
    done = movieapp(stack, "dlq", "list")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "No dead letters.\n")
    replayed = movieapp(stack, "dlq", "replay", "--json")
    assert (replayed.returncode, json.loads(replayed.stdout)["replayed"]) == (1, 0)
    assert replayed.stderr == "Error: Nothing replayed: there are no dead letters in these queues.\n"
    shown = movieapp(stack, "dlq", "show", "0123456789ab")
    assert (shown.returncode, shown.stderr) == (1, "Error: No dead letter has the id 0123456789ab.\n")


def test_each_kind_of_dead_letter_has_its_reason(stack: Settings) -> None:
    bury_delivery(stack, delivery("failed"), traceback="…\nConnectionError: the first try", retries=3)
    bury(stack, "notification.email", [delivery_message(stack, "6" * 24)])
    unsound = {name: value for name, value in EVENT.items() if name != "booking_id"}
    unknown = EVENT | {"event_type": "booking.\x1b[2Jmoved"}
    other = EVENT | {"event_id": "evt_0", "booking_id": "BOOK-OTHER"}
    forged = dramatiq.Message("x", "send_email", ("1",), {}, {}).encode()
    events = [json.dumps(event).encode() for event in (unsound, unknown, other)]
    bury(stack, "notification.booking_events", [*events, b"\xff", forged])

    errors = [letter["error"] for letter in listed(stack)]
    assert errors[0].startswith("booking.cancelled: booking_id: missing data")
    assert errors[1].startswith("unknown event_type 'booking.\\x1b[2Jmoved': use one of booking.")
    assert errors[2] == "an earlier event with this event_id has different content"
    assert errors[3] == "the body is not valid UTF-8 at byte 0"
    assert errors[4:] == [
        "the body is a Dramatiq message: publish the event as plain JSON",
        "550 5.1.1 no such user",
        "the record of the delivery was deleted, so a replay would do nothing",
    ]

    plain = movieapp(stack, "dead-letters", "list")
    assert plain.stderr == ""
    lines = plain.stdout.splitlines()
    assert len(lines) == 8
    assert all(line.count("\t") == 7 for line in lines)
    assert "\x1b" not in plain.stdout


def test_dead_letters_are_filtered_by_queue_type_error_and_age(stack: Settings) -> None:
    bury_delivery(stack, delivery("failed"))
    bury(stack, "notification.payment_events", [b"no json", b'{"event_type": "payment.success"}'])
    queues = [stack.namespace + name for name in ("notification.email", "notification.payment_events")]
    with closing(open_dead_letters(stack)) as letters:

        def picked(*names: str, **selection: Any) -> list[Case]:
            return list(find(letters, names or queues, Selection(**selection)))

        (mail,) = picked(queues[0])
        assert mail.event_type == EVENT["event_type"]
        assert picked(event_type="booking.cancelled") == [mail]
        assert picked(error="NO SUCH USER") == [mail]
        assert picked(ids=frozenset({mail.letter.id})) == [mail]
        assert len(picked(event_type="payment.success")) == 1
        ago = utcnow() - timedelta(minutes=10)
        assert len(picked(after=ago)) == 3
        assert picked(before=ago) == []
        assert picked(event_type="payment.success", error="no such user") == []


@on_one_broker
def test_options_of_the_command_filter_dead_letters(stack: Settings) -> None:
    bury(stack, "notification.payment_events", [b"no json", b'{"event_type": "payment.success"}'])
    assert len(listed(stack, "--newer-than", "10m", "--limit", "1")) == 1
    picking = (
        "--queue",
        "notification.payment_events",
        "--event-type",
        "payment.success",
        "--error",
        "amount",
    )
    (letter,) = listed(stack, *picking)
    assert listed(stack, *picking, "--older-than", letter["died_at"]) == []
    wrong = movieapp(stack, "dlq", "list", "--older-than", "soon")
    assert (wrong.returncode, "must be an age, such as 2h" in wrong.stderr) == (2, True)


@on_one_broker
def test_show_prints_every_attempt_and_the_event(stack: Settings) -> None:
    bury_delivery(stack, delivery("failed"))
    (letter,) = listed(stack)
    shown = json.loads(movieapp(stack, "dlq", "show", letter["id"], "--json").stdout)
    assert shown["event"]["booking_id"] == EVENT["booking_id"]
    assert [attempt["detail"] for attempt in shown["attempts"]] == ["550 5.1.1 no such user"]
    plain = movieapp(stack, "dlq", "show", letter["id"]).stdout
    assert plain.count("550 5.1.1 no such user") == 2
    assert f'"movie_title": {json.dumps(EVENT["movie_title"])}' in plain


def test_an_undecodable_body_is_shown_escaped_and_truncated(stack: Settings) -> None:
    bury(stack, "notification.booking_events", [b"\x1b[31m\xff\x00" + b"x" * 1_000_000])
    (letter,) = listed(stack)
    shown = movieapp(stack, "dlq", "show", letter["id"])
    assert "\\x1b[31m\\xff\\x00xxx" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert "1000007" in shown.stdout
    assert len(shown.stdout) < 10_000
    assert len(movieapp(stack, "dlq", "show", letter["id"], "--json").stdout) < 10_000


def test_replayed_deliveries_are_sent_once_whatever_their_status(
    stack: Settings, mail_sink: MailSink, worker: Callable[[], None]
) -> None:
    failed, sent, uncertain = (
        delivery(status, number) for number, status in enumerate(("failed", "sent", "uncertain"))
    )
    bury_delivery(stack, failed, failed, sent, uncertain, eta=99_999_999_999_999, retries=30)
    bury(stack, "notification.email", [delivery_message(stack, "6" * 24)])

    tried = movieapp(stack, "dlq", "replay", "--dry-run", "--json")
    left = {
        "the message may have arrived; pass --include-uncertain to send it again": 1,
        "the record of the delivery was deleted, so a replay would do nothing": 1,
    }
    assert (tried.returncode, json.loads(tried.stdout)) == (1, {"replayed": 3, "left": left, "dry_run": True})
    assert dead(stack, "notification.email") == 5

    done = movieapp(stack, "dlq", "replay", "--yes")
    assert (done.returncode, done.stdout) == (1, "3 replayed.\n")
    assert "1 not replayed: the message may have arrived" in done.stderr
    assert dead(stack, "notification.email") == 2
    worker()
    assert mail_sink.wait(1)[0]["To"] == EVENT["user_email"]
    wait_for(lambda: Notification.objects.get(id=failed.id).status == "sent", 5, "not sent")
    outcomes = [attempt.outcome for attempt in Notification.objects.get(id=failed.id).attempts]
    assert outcomes == ["failed", "queued", "sent"]

    again = movieapp(stack, "dlq", "replay", "--yes", "--include-uncertain", "--json")
    assert json.loads(again.stdout)["replayed"] == 1
    wait_for(lambda: Notification.objects.get(id=uncertain.id).status == "sent", 5, "not sent")
    assert len(mail_sink.mails) == 2
    assert len(Notification.objects.get(id=sent.id).attempts) == 1


def test_an_undecodable_body_is_handled_after_a_fix(
    stack: Settings, mail_sink: MailSink, worker: Callable[[], None]
) -> None:
    # Simulates a worker that does not know the event type yet.
    bury(stack, "notification.booking_events", [json.dumps(EVENT).encode()])
    (letter,) = listed(stack)
    assert letter["error"] is None, "nothing is wrong with it any more"
    done = movieapp(stack, "dlq", "replay", letter["id"])
    assert (done.returncode, done.stdout) == (0, "1 replayed.\n")
    if stack.rabbitmq_url.startswith("redis"):
        return  # no other service publishes there, and a bare event is not a valid message
    worker()
    mail_sink.wait(1)
    assert dead(stack, "notification.booking_events") == 0


@on_one_broker
def test_drop_asks_for_confirmation_unless_yes_is_passed(stack: Settings) -> None:
    bury(stack, "notification.sms", [b"1", b"2", b"3"])
    command = [*MOVIEAPP, "dlq", "drop", "--queue", "notification.sms"]
    silent = movieapp(stack, "dlq", "drop")
    assert (silent.returncode, "--yes" in silent.stderr) == (2, True)
    refused = run_on_terminal(command, "n\n", env=environment(stack))
    assert (refused[0], "Permanently delete 3 dead letters? [y/N]" in refused[1]) == (1, True)
    dry = movieapp(stack, "dlq", "drop", "--dry-run", "--yes")
    assert (dry.returncode, dry.stdout) == (0, "3 would be dropped.\n")
    assert dead(stack, "notification.sms") == 3

    one = listed(stack)[1]["id"]
    dropped = movieapp(stack, "dlq", "drop", one, "--yes", "--json")
    assert json.loads(dropped.stdout) == {"dropped": 1, "matched": 1, "dry_run": False}
    assert one not in [letter["id"] for letter in listed(stack)]
    code, shown = run_on_terminal(command, "y\n", env=environment(stack))
    assert (code, "2 of 2 dropped." in shown) == (0, True)
    assert dead(stack, "notification.sms") == 0


@on_one_broker
def test_progress_is_shown_on_a_terminal(stack: Settings) -> None:
    bury(stack, "notification.sms", [b"%d" % number for number in range(20)])
    command = [*MOVIEAPP, "dlq", "replay", "--yes", "--rate", "100"]
    code, shown = run_on_terminal(command, env=environment(stack))
    assert code == 0, shown
    assert "Replaying" in shown
    assert "100%" in shown
    assert "20 replayed." in shown


@on_one_broker
def test_the_rate_limit_is_respected(stack: Settings) -> None:
    bury(stack, "notification.sms", [b"%d" % number for number in range(11)])
    began = utcnow()
    done = movieapp(stack, "dlq", "replay", "--yes", "--rate", "10")
    assert (done.returncode, done.stdout) == (0, "11 replayed.\n")
    assert (utcnow() - began).total_seconds() >= 1.0


def test_an_unavailable_broker_is_reported_in_one_line(stack: Settings) -> None:
    scheme = stack.rabbitmq_url.partition("://")[0]
    done = movieapp(stack.model_copy(update={"rabbitmq_url": f"{scheme}://127.0.0.1:1/"}), "dlq", "list")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "is unavailable" in done.stderr


@on_one_broker
def test_without_mongodb_no_delivery_is_replayed(stack: Settings) -> None:
    bury(stack, "notification.email", [delivery_message(stack, "6" * 24)])
    done = movieapp(
        stack.model_copy(update={"mongodb_uri": "mongodb://127.0.0.1:1/x"}), "dlq", "replay", "--yes"
    )
    assert (done.returncode, done.stdout) == (1, "0 replayed.\n")
    assert done.stderr.startswith("Error: The database is unavailable")
    assert dead(stack, "notification.email") == 1

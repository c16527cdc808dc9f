"""`movieapp events`, through its real entry point and with both brokers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dramatiq
import pytest

from actors.declare import worker_broker
from app import models
from app.events.catalog import CATALOG
from app.events.samples import sample, sample_names
from app.models import Notification
from cli.events import _SAMPLE_TYPES
from tests.support.commands import MOVIEAPP, environment, movieapp
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from app.settings import Settings


def test_every_sample_can_be_printed() -> None:
    assert sorted(_SAMPLE_TYPES) == sample_names()


def test_a_sample_validates(settings: Settings, tmp_path: Path) -> None:
    created = movieapp(settings, "events", "sample", "booking.confirmed", "--new-id", "--to", "a@example.com")
    event = json.loads(created.stdout)
    assert event["event_id"] != sample("booking.confirmed")["event_id"]
    assert event["user_email"] == "a@example.com"
    file = tmp_path / "event.json"
    file.write_text(created.stdout)
    output = movieapp(settings, "events", "validate", str(file))
    assert (output.returncode, output.stdout) == (0, f"{event['event_id']} is a valid booking.confirmed.\n")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not json", "the body is not valid JSON: Expecting value (character 0)"),
        (b"[1]", "the body must be a JSON object"),
        (b"{}", "unknown event_type None"),
        (b'{"event_type": ["x"]}', "unknown event_type ['x']"),
        (b'{"event_type": "booking.moved"}', "unknown event_type 'booking.moved'"),
        (b" " * 300_000, "the body must have at most 262144 bytes"),
        (
            json.dumps(sample("payment.refund") | {"reason": None, "schema_version": 2}).encode(),
            "payment.refund: reason: missing data for required field; schema_version: must be 1",
        ),
    ],
)
def test_an_invalid_event_is_reported_and_not_published(
    settings: Settings, tmp_path: Path, body: bytes, reason: str
) -> None:
    file = tmp_path / "event.json"
    file.write_bytes(body)
    for command in ("validate", "publish"):
        output = movieapp(settings, "events", command, str(file))
        assert output.returncode == 1
        assert reason in output.stderr
        assert len(output.stderr.splitlines()) == 1
    as_json = json.loads(movieapp(settings, "events", "validate", str(file), "--json").stdout)
    assert as_json["valid"] is False


def test_a_published_event_is_reported_once(broker_settings: Settings) -> None:
    models.connect(broker_settings)
    broker = worker_broker(broker_settings)
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
    worker.start()
    event = sample("payment.success") | {"user_email": None}
    command = [*MOVIEAPP, "events", "publish", "-"]
    for _ in range(2):
        done = subprocess.run(
            command,
            input=json.dumps(event),
            env=environment(broker_settings),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, f"{event['event_id']} is published.\n"), done.stderr
    wait_for(lambda: Notification.objects(event_id=event["event_id"]).count(), 10, "not handled")
    worker.stop()
    broker.close()
    assert Notification.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"event_type": "payment.moved"}, "unknown event_type 'payment.moved'"),
        ({"schema_version": 7}, "schema_version: must be 1"),
    ],
)
def test_an_unknown_type_or_version_is_a_dead_letter(
    broker_settings: Settings,
    dead_letters: Callable[[Settings, str], int],
    log_lines: Any,
    change: dict[str, Any],
    reason: str,
) -> None:
    from app.messaging.publisher import OutgoingEvent, make_publisher

    models.connect(broker_settings)
    broker = worker_broker(broker_settings)
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
    worker.start()
    event = sample("payment.success") | change
    publisher = make_publisher(broker_settings)
    publisher.publish(OutgoingEvent(event["event_id"], event["event_type"], json.dumps(event)))
    publisher.close()
    queue = "notification.payment_events"
    wait_for(lambda: dead_letters(broker_settings, queue) == 1, 10, "no dead letter")
    worker.stop()
    broker.close()
    assert Notification.objects.count() == 0
    (line,) = (line for line in log_lines() if "event refused" in str(line))
    assert reason in line["reason"]


def test_every_type_is_in_the_catalog() -> None:
    assert {name.removesuffix(".minimal") for name in _SAMPLE_TYPES} == set(CATALOG)

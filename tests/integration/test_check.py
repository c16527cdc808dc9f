"""`movieapp check`: reports what works, and what does not with its fix."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
import pytest
from pydantic import SecretStr

from app import models
from app.channels import CHANNELS, ChannelName
from app.clock import utcnow
from app.models import ApiKey, Notification, Transaction, WebhookDelivery, database
from app.operations import health
from app.operations.health import Finding, run_probe, run_probes
from cli.checks import CHECKS
from tests.support.commands import movieapp
from tests.support.ports import free_port
from tests.support.servers import WorkerProcess
from tests.support.smtpd import run

if TYPE_CHECKING:
    from app.settings import Settings
    from tests.support.mail import MailSink
    from tests.support.stripe import StripeSimulator

KEY = {"payment_gateway_api_key": SecretStr("sk_test_check"), "stripe_webhook_secret": SecretStr("whsec_x")}
FIELDS = {"booking_id": "B", "user_id": "u", "amount": 1, "currency": "USD", "payment_method": "stripe"}


@pytest.fixture
def well(broker_settings: Settings, stripe_simulator: StripeSimulator, mail_sink: MailSink) -> Settings:
    """Every server is available, and the collections have their indexes."""
    models.connect(broker_settings)
    for record in models.RECORDS:
        record.objects.first()
    WebhookDelivery(id="evt", type="x", received_at=utcnow()).save()
    return broker_settings.model_copy(update={**mail_sink.settings, **stripe_simulator.settings, **KEY})


def levels(settings: Settings) -> dict[str, set[str]]:
    """Return check → levels, from a run in this process."""
    models.connect(settings)
    found: dict[str, set[str]] = {}
    for finding in run_probes(CHECKS, settings):
        found.setdefault(finding.check, set()).add(finding.level)
        assert finding.level == "ok" or finding.advice
    return found


def look(name: str, settings: Settings) -> list[Finding]:
    return run_probe(name, CHECKS[name], settings)


def test_every_check_passes(well: Settings, tmp_path: Path) -> None:
    with WorkerProcess(tmp_path, well) as worker:
        worker.wait_until_it_works()
        beat = well.model_copy(update={"worker_heartbeat_file": tmp_path / "heartbeat"})
        done = movieapp(beat, "check", "--json")
        output = json.loads(done.stdout)
        found = {(each["check"], each["level"]) for each in output}
        # Development needs no key, and Debian's RabbitMQ is old.
        warned = {("api keys", "warning"), ("rabbitmq", "warning")}
        assert found <= {(each["check"], "ok") for each in output} | warned
        assert ("api keys", "warning") in found
        assert done.returncode == 0
        plain = movieapp(beat, "check")
        assert (plain.returncode, "smtp\tok\tready to send" in plain.stdout) == (0, True)


def test_every_unavailable_server_fails_its_check(settings: Settings) -> None:
    unavailable = {
        "mongodb_uri": f"{settings.mongodb_uri}?serverSelectionTimeoutMS=200",
        "rabbitmq_url": f"amqp://guest:hunter2@127.0.0.1:{free_port()}/",
        "payment_gateway_url": f"http://127.0.0.1:{free_port()}",
        "smtp_server": "127.0.0.1",
        "smtp_port": free_port(),
        "worker_heartbeat_file": Path("/nowhere/beat"),
    }
    done = movieapp(settings.model_copy(update=unavailable | KEY), "check", "--json")
    assert done.returncode == 1
    bad = {each["check"] for each in json.loads(done.stdout) if each["level"] == "bad"}
    assert bad >= {"mongodb", "redis", "broker", "gateway", "smtp", "worker", "outbox", "webhooks"}
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_open_payments_and_dead_letters_are_reported(well: Settings) -> None:
    long_ago = utcnow() - timedelta(hours=1)
    Transaction(id="T", status="pending", created_at=long_ago, recover_after=long_ago, **FIELDS).save()
    Transaction(id="U", status="completed", created_at=long_ago, outbox_since=long_ago, **FIELDS).save()
    Notification(
        event_id="e",
        event_type="t",
        notification_type="email",
        status="queued",
        event_data={},
        due_at=long_ago,
        created_at=long_ago,
    ).save()
    database()["transaction_logs"].drop_index("recover_after_1")
    found = levels(well)
    assert found["outbox"] == found["open payments"] == found["open deliveries"] == {"bad"}
    assert found["indexes"] == {"warning"}


def test_differing_queue_arguments_are_reported(
    rabbit_settings: Settings, stripe_simulator: StripeSimulator, mail_sink: MailSink
) -> None:
    changes = {**mail_sink.settings, **stripe_simulator.settings, **KEY}
    settings = rabbit_settings.model_copy(update=changes)
    assert levels(settings)["queues"] == {"warning"}  # none is declared
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        connection.channel().queue_declare(
            settings.namespace + CHANNELS[ChannelName.EMAIL].queue, durable=True
        )
    assert levels(settings)["queues"] == {"warning", "bad"}


@pytest.mark.parametrize(("minutes", "level"), [(0, "ok"), (2, "warning"), (10, "bad")])
def test_a_wrong_clock_is_reported(
    settings: Settings,
    stripe_simulator: StripeSimulator,
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
    level: str,
) -> None:
    monkeypatch.setattr(health, "utcnow", lambda: utcnow() + timedelta(minutes=minutes))
    _, clock = look("gateway api", settings.model_copy(update=stripe_simulator.settings | KEY))
    assert clock.level == level


def test_a_refused_login_is_reported_with_its_fix(settings: Settings, localhost_pem: Path) -> None:
    with run("ssl", localhost_pem) as smtpd:
        wrong = {"smtp_username": "user", "smtp_password": SecretStr("wrong"), "smtp_ca_file": localhost_pem}
        where = {"smtp_server": "localhost", "smtp_port": smtpd.port, "smtp_security": "ssl"}
        [smtp] = look("smtp", settings.model_copy(update=wrong | where))
    assert (smtp.level, "app password" in smtp.what) == ("bad", True)


def test_missing_required_keys_are_reported(stored_settings: Settings) -> None:
    models.connect(stored_settings)
    needed = stored_settings.model_copy(update={"auth_required": True})
    assert [finding.level for finding in look("api keys", needed)] == ["bad"]
    key: dict[str, Any] = {"token_hash": "x", "scopes": ["payments:read"], "created_at": utcnow()}
    ApiKey(id="key_1", name="shop", **key).save()
    assert [finding.level for finding in look("api keys", needed)] == ["ok"]

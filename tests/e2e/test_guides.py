"""The guides followed to the letter: each of their examples run, in order."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from app import models
from app.messaging.depths import queue_depths
from app.models import Notification
from devtools.postman import collection, openapi
from tests.support.documents import ROOT, examples
from tests.support.servers import ApiServer, WorkerProcess
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from app.settings import Settings
    from tests.support.mail import MailSink
    from tests.support.stripe import StripeSimulator

pytestmark = pytest.mark.timeout(240)

#: Language of an example → what runs it from its standard input.
RUN: dict[str, Sequence[str]] = {
    "sh": ["bash", "-euo", "pipefail", "-s"],
    "python": [sys.executable, "-"],
    "js": ["node", "--input-type=module", "-"],
}

#: What the examples of docs/api.md print, one after the other.
ANSWERS = (
    '"status":"success"',
    "200 success TXN-",
    "200 success TXN-",
    "Idempotency-Replayed: true",
    '"transactions":',
    "completed 25.5 USD",
    '"error_code":"INSUFFICIENT_FUNDS"',
    "202 requires_action /payment/status/TXN-",
    "200 canceled",
    "200 success REF-",
    " 401 ",
)


def run(language: str, text: str, cwd: Path) -> str:
    done = subprocess.run(
        RUN[language], input=text, cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    return done.stdout


def test_the_api_guide(
    redis_settings: Settings,
    stripe_simulator: StripeSimulator,
    tmp_path: Path,
    node: str,
) -> None:
    changes = {**stripe_simulator.settings, "ratelimit_enabled": True, "namespace": redis_settings.namespace}
    api = ApiServer(tmp_path, redis_settings.model_copy(update=changes))
    api.start()
    told = [
        run(language, text.replace("http://localhost:8003", api.url), tmp_path)
        for language, text in examples("docs/api.md", "sh", "python", "js")
    ]
    api.stop()
    assert len(told) == len(ANSWERS)
    for shown, wanted in zip(told, ANSWERS, strict=True):
        assert wanted.lower() in shown.lower().replace('": ', '":'), shown


@pytest.mark.parametrize("language", ["python", "js"])
def test_events_are_published_as_the_guide_says(
    rabbit_settings: Settings,
    mail_sink: MailSink,
    tmp_path: Path,
    npm_install: Callable[[str, str], Path],
    node: str,
    language: str,
) -> None:
    cwd = npm_install("amqplib", "^0.10.9") if language == "js" else tmp_path
    [text] = [text for found, text in examples("docs/publishing-events.md", language) if found == language]
    there = {
        "amqp://guest:guest@localhost:5672/%2F": rabbit_settings.rabbitmq_url,
        "amqp://guest:guest@localhost:5672": rabbit_settings.rabbitmq_url,
        "movie_app_events": rabbit_settings.rabbitmq_exchange,
    }
    for named, ours in there.items():
        text = text.replace(named, ours)
    models.connect(rabbit_settings)
    with WorkerProcess(tmp_path / "worker", rabbit_settings.model_copy(update=mail_sink.settings)) as worker:
        worker.wait_until_it_works()
        assert "published" in run(language, text, cwd)
        [mail] = mail_sink.wait(1, 30)
        assert "Dune" in mail["Subject"]
        wait_for(lambda: Notification.objects(status="sent").count(), 20, "it is not on record")
        run(language, text, cwd)  # the same event_id sends nothing more
        wait_for(lambda: not queued(rabbit_settings), 20, "the second copy was not taken")
        assert Notification.objects.count() == 1
    assert len(mail_sink.mails) == 1


def test_the_postman_collection(
    redis_settings: Settings,
    stripe_simulator: StripeSimulator,
    tmp_path: Path,
    npm_install: Callable[[str, str], Path],
) -> None:
    made = ROOT / "docs/postman/movieapp.postman_collection.json"
    assert json.loads(made.read_text()) == collection(openapi())
    models.disconnect()
    folder = npm_install("newman", "^6.2.1")
    api = ApiServer(tmp_path, redis_settings.model_copy(update=stripe_simulator.settings))
    api.start()
    command = ["node_modules/.bin/newman", "run", str(made), "--env-var", f"baseUrl={api.url}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    api.stop()
    assert done.returncode == 0, done.stdout + done.stderr


def queued(settings: Settings) -> int:
    return sum(depth.ready for depth in queue_depths(settings))

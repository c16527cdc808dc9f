"""The command and the API accept returned mails, with exit codes and responses for mail servers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app import create_app
from app.keys.store import create_key
from app.settings import LARGER_BODIES, Settings
from tests.integration.bounces.conftest import MakeMail
from tests.support.bounces import MESSAGE_ID, VACATION, returned
from tests.support.commands import MOVIEAPP, environment, movieapp
from tests.support.ports import free_port

if TYPE_CHECKING:
    from flask.testing import FlaskClient


def ingest(settings: Settings, raw: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*MOVIEAPP, "bounces", "ingest", "-", *arguments],
        input=raw,
        env=environment(settings),
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_command_reads_a_bounce_from_a_pipe(make_mail: MakeMail, stored_settings: Settings) -> None:
    mail = make_mail()
    # Larger than the part that is read; the rest is our own mail.
    done = ingest(stored_settings, returned() + b"x" * 2_000_000, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "outcome": "recorded",
        "what": None,
        "kind": "hard",
        "reason": "no_such_recipient",
        "status": "5.1.1",
        "reply": "550 5.1.1 User unknown",
        "message_id": MESSAGE_ID,
        "recipient": "moviegoer@example.com",
        "notification_id": str(mail.id),
    }
    assert mail.reload().status == "bounced"


def test_command_accepts_a_file_that_is_not_a_bounce(stored_settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "returned.eml"
    file.write_bytes(VACATION)
    done = movieapp(stored_settings, "bounces", "ingest", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert "no_bounce" in done.stdout and "auto_reply" in done.stdout


def test_command_asks_the_mail_server_to_try_again_during_an_outage(settings: Settings) -> None:
    unavailable = settings.model_copy(update={"mongodb_uri": f"mongodb://127.0.0.1:{free_port()}/away"})
    done = ingest(unavailable, returned())
    assert done.returncode == 75
    assert done.stderr.startswith(b"The message was not processed: ")
    assert b"Traceback" not in done.stderr


def test_command_asks_for_a_retry_while_a_setting_is_wrong(settings: Settings) -> None:
    done = ingest(settings.model_copy(update={"log_level": "LOUD"}), returned())
    assert done.returncode == 75
    assert b"LOG_LEVEL" in done.stderr


def test_command_names_a_file_that_is_missing(settings: Settings) -> None:
    assert movieapp(settings, "bounces", "ingest", "/nowhere.eml").returncode == 2


@pytest.fixture
def make_client(redis_settings: Settings) -> Iterator[Any]:
    apps = []

    def make(**changes: Any) -> FlaskClient:
        app = create_app(redis_settings.model_copy(update={"auth_required": True} | changes))
        apps.append(app)
        return app.test_client()

    yield make
    for app in apps:
        app.extensions["movieapp"].relay.close()


def bearer(*scopes: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {create_key('mail server', scopes)[1]}",
        "Content-Type": "message/rfc822",
    }


def test_endpoint_accepts_a_bounce(make_client: Any, make_mail: MakeMail) -> None:
    mail = make_mail()
    client, headers = make_client(), bearer("notifications:write")
    report = returned()
    response = client.post("/notification/bounces", data=report, headers=headers)
    assert (response.status_code, response.json) == (
        200,
        {
            "received": True,
            "outcome": "recorded",
            "notification_id": str(mail.id),
            "what": None,
            "bounce": {
                "kind": "hard",
                "reason": "no_such_recipient",
                "status": "5.1.1",
                "reply": "550 5.1.1 User unknown",
            },
        },
    )
    assert mail.reload().status == "bounced"
    again = client.post("/notification/bounces", data=report, headers=headers)
    assert (again.status_code, again.json["outcome"]) == (200, "repeated")
    unavailable = client.post("/notification/bounces", data=VACATION, headers=headers)
    assert (unavailable.status_code, unavailable.json["what"], unavailable.json["bounce"]) == (
        200,
        "auto_reply",
        None,
    )


def test_endpoint_needs_a_key_with_the_scope(make_client: Any, make_mail: MakeMail) -> None:
    mail = make_mail()
    client = make_client()
    assert client.post("/notification/bounces", data=returned()).status_code == 401
    wrong = client.post("/notification/bounces", data=returned(), headers=bearer("payments:write"))
    assert (wrong.status_code, wrong.json["error"]["code"]) == (403, "FORBIDDEN")
    assert mail.reload().status == "sent"


@pytest.mark.parametrize("chunked", [False, True])
def test_endpoint_accepts_our_largest_mail_and_refuses_larger_ones(
    make_client: Any, make_mail: MakeMail, chunked: bool
) -> None:
    make_mail()
    client, headers = make_client(), bearer("notifications:write")
    limit = LARGER_BODIES["/notification/bounces"]
    extra: dict[str, Any] = (
        {"environ_overrides": {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}}
        if chunked
        else {}
    )
    report = returned()
    fits = client.post(
        "/notification/bounces", data=report + b"x" * (limit - len(report)), headers=headers, **extra
    )
    assert fits.status_code == 200
    over = client.post("/notification/bounces", data=report + b"x" * limit, headers=headers, **extra)
    assert (over.status_code, over.json["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_endpoint_accepts_only_messages(make_client: Any, make_mail: MakeMail) -> None:
    make_mail()
    headers = bearer("notifications:write") | {"Content-Type": "application/json"}
    response = make_client().post("/notification/bounces", data=b"{}", headers=headers)
    assert response.status_code == 415


def test_endpoint_is_rate_limited(make_client: Any, make_mail: MakeMail) -> None:
    make_mail()
    client, headers = (
        make_client(ratelimit_enabled=True, ratelimit_reads="2 per minute"),
        bearer("notifications:write"),
    )
    codes = [
        client.post("/notification/bounces", data=VACATION, headers=headers).status_code for _ in range(3)
    ]
    assert codes == [200, 200, 429]

"""Mails returned by a real Postfix, received from each of the three sources."""

from __future__ import annotations

import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import SecretStr
from werkzeug.serving import make_server

from app import create_app, models
from app.bounces.mailbox import PROCESSED, poll
from app.channels import ChannelName
from app.keys.store import create_key
from app.models import Notification
from app.settings import Settings
from app.suppressions import make_suppressions
from tests.support.actors import StubWorker, confirmation
from tests.support.commands import MOVIEAPP, environment
from tests.support.dovecot import USER as MAILBOX_USER
from tests.support.dovecot import Dovecot
from tests.support.ports import free_port
from tests.support.postfix import PASSWORD, USER, Postfix
from tests.support.wait import wait_for

REPLIES = {
    "unknown.example.com": "550 5.1.1 Recipient address rejected: User unknown",
    "full.example.com": "552 5.2.2 Mailbox is over quota",
}
UNREACHABLE = "gone.example.com"

#: Domain → recorded reason, and whether the first such bounce suppresses.
EXPECTED = {
    "unknown.example.com": ("User unknown", True),
    "full.example.com": ("over quota", False),
    UNREACHABLE: ("Connection refused", False),
}


class Refusing:
    """Another provider's mail server, which knows none of our recipients."""

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        return REPLIES[address.rpartition("@")[2]]


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not in pytest's directory, which other users can't enter.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def make_postfix(
    folder: Path, localhost_pem: Path, lacking: Callable[[str], NoReturn]
) -> Iterator[Callable[[str, str], Postfix]]:
    """Start a Postfix that immediately returns undeliverable mail to the test's transport."""
    if reason := Postfix.lacks():
        lacking(reason)
    provider = Controller(Refusing(), hostname="127.0.0.1", port=free_port())
    provider.start()
    servers: list[Postfix] = []

    def make(door: str, services: str = "", lifetime: str = "0") -> Postfix:
        routes = dict.fromkeys(REPLIES, f"smtp:[127.0.0.1]:{provider.port}")
        routes |= {UNREACHABLE: f"smtp:[127.0.0.1]:{free_port()}", "movieapp.example.com": door}
        table = " ".join(f"{{{domain} = {transport}}}" for domain, transport in routes.items())
        settings = (
            "smtpd_recipient_restrictions =\n"
            f"maximal_queue_lifetime = {lifetime}\n"
            "minimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\n"
            f"transport_maps = inline:{{ {table} }}\n"
        )
        postfix = Postfix(folder / "postfix", localhost_pem, provider.port, 1, settings, services)
        servers.append(postfix)
        postfix.start()
        return postfix

    yield make
    for server in servers:
        server.stop()
    provider.stop()


@contextmanager
def sending(
    settings: Settings, postfix: Postfix, pem: Path, *domains: str
) -> Iterator[dict[str, Notification]]:
    """Send a confirmation to one recipient at each domain; yields the records by domain."""
    models.connect(settings)
    ours: dict[str, Any] = {
        "smtp_server": "localhost",
        "smtp_port": postfix.port,
        "smtp_security": "starttls",
        "smtp_ca_file": pem,
        "smtp_username": USER,
        "smtp_password": SecretStr(PASSWORD),
        "smtp_ehlo_name": "web-1.example.com",
        "from_email": MAILBOX_USER,
    }
    stub = StubWorker(settings.model_copy(update=ours), sweeping=False, queues=None)
    try:
        for number, domain in enumerate(domains or EXPECTED):
            stub.publish(
                confirmation(
                    event_id=f"evt_{number}", booking_id=f"BOOK-{number}", user_email=f"moviegoer@{domain}"
                )
            )
        mails = {
            mail.recipient.partition("@")[2]: mail for mail in Notification.objects(notification_type="email")
        }
        assert set(mails) == set(domains or EXPECTED)
        yield mails
    finally:
        stub.worker.stop()
        stub.broker.close()


def check(settings: Settings, mails: dict[str, Notification], postfix: Postfix) -> None:
    def all_bounced() -> bool:
        return all(mail.reload().status == "bounced" for mail in mails.values())

    log = postfix.directory / "mail.log"
    wait_for(all_bounced, 60, lambda: f"not every mail bounced: {log.read_text()[-3000:]}")
    suppressions = make_suppressions(settings)
    for domain in mails:
        words, suppressed = EXPECTED[domain]
        assert words in mails[domain].error_message
        # A bounce may arrive before the worker records the delivery.
        assert sorted(each.outcome for each in mails[domain].attempts) == ["bounced", "sent"]
        find = partial(suppressions.find, ChannelName.EMAIL, mails[domain].recipient)
        if suppressed:  # which is logged after the record
            wait_for(find, 60, f"{domain} is not suppressed")
        else:
            assert find() is None


def test_postfix_bounce_through_the_mailbox_is_recorded(
    make_postfix: Callable[..., Postfix],
    folder: Path,
    localhost_pem: Path,
    stored_settings: Settings,
    lacking: Callable[[str], NoReturn],
) -> None:
    if reason := Dovecot.lacks():
        lacking(reason)
    dovecot = Dovecot(folder / "dovecot", localhost_pem)
    dovecot.start()
    settings = stored_settings.model_copy(
        update={"bounce_mailbox_url": SecretStr(dovecot.url), "bounce_mailbox_ca_file": localhost_pem}
    )
    try:
        postfix = make_postfix(f"lmtp:inet:127.0.0.1:{dovecot.lmtp_port}")
        with sending(settings, postfix, localhost_pem) as mails:
            wait_for(lambda: len(dovecot.folder("INBOX")) == 3, 60, "the bounces did not arrive")

            class Claim:
                def take(self) -> bool:
                    return True

                def renew(self) -> None:
                    pass

            assert poll(settings, Claim(), lambda: False) == 3
            check(settings, mails, postfix)
            assert len(dovecot.folder(PROCESSED)) == 3
    finally:
        dovecot.stop()


#: Postfix runs a pipe as a user that can't read the tests' Python, so a process of the test runs the command.
_FORWARD = """\
#!/bin/sh
name={spool}/$$
cat >$name.part && mv $name.part $name.eml
while [ ! -e $name.code ]; do sleep 0.1; done
exit $(cat $name.code)
"""


#: Queue lifetime of mails and bounces, after which Postfix returns undeliverable mail.
@pytest.mark.parametrize(
    ("lifetime", "domains", "outage"), [("0", tuple(EXPECTED), False), ("1h", tuple(REPLIES), True)]
)
def test_postfix_bounce_through_the_pipe_is_recorded_even_after_an_outage(
    lifetime: str,
    domains: tuple[str, ...],
    outage: bool,
    make_postfix: Callable[..., Postfix],
    folder: Path,
    localhost_pem: Path,
    stored_settings: Settings,
) -> None:
    spool = folder / "spool"
    spool.mkdir()
    spool.chmod(0o777)
    script = folder / "ingest"
    script.write_text(_FORWARD.format(spool=spool))
    script.chmod(0o755)
    unavailable = stored_settings.model_copy(
        update={"mongodb_uri": f"mongodb://127.0.0.1:{free_port()}/away"}
    )
    codes: list[int] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.1):
            for message in spool.glob("*.eml"):
                settings = unavailable if outage and not codes else stored_settings
                done = subprocess.run(
                    [*MOVIEAPP, "bounces", "ingest", "-"],
                    input=message.read_bytes(),
                    env=environment(settings),
                    capture_output=True,
                    timeout=60,
                    check=False,
                )
                codes.append(done.returncode)
                message.unlink()
                message.with_suffix(".part").write_text(str(done.returncode))
                message.with_suffix(".part").rename(message.with_suffix(".code"))

    runner = threading.Thread(target=run)
    runner.start()
    try:
        service = f"ingest unix - n n - 1 pipe\n  user=nobody argv={script}\n"
        postfix = make_postfix("ingest:", service, lifetime)
        with sending(stored_settings, postfix, localhost_pem, *domains) as mails:
            check(stored_settings, mails, postfix)
    finally:
        stop.set()
        runner.join()
    assert codes == [75] * outage + [0] * len(domains)


_POST = """\
#!/bin/sh
curl --fail --silent --output /dev/null --data-binary @- \\
  -H 'Authorization: Bearer {token}' -H 'Content-Type: message/rfc822' \\
  http://127.0.0.1:{port}/notification/bounces || exit 75
"""


def test_postfix_bounce_through_the_api_is_recorded(
    make_postfix: Callable[..., Postfix], folder: Path, localhost_pem: Path, stored_settings: Settings
) -> None:
    app = create_app(stored_settings.model_copy(update={"auth_required": True}))
    models.connect(stored_settings)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    script = folder / "post"
    token = create_key("mail server", ["notifications:write"])[1]
    script.write_text(_POST.format(token=token, port=server.server_port))
    script.chmod(0o755)
    try:
        postfix = make_postfix("post:", f"post unix - n n - 2 pipe\n  user=nobody argv={script}\n")
        with sending(stored_settings, postfix, localhost_pem) as mails:
            check(stored_settings, mails, postfix)
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
        app.extensions["movieapp"].relay.close()

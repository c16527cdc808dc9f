"""The mailbox for bounces on a real Dovecot: each message is handled once and never lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest
import redis
from imapclient.exceptions import LoginError
from pydantic import SecretStr

from app.bounces import mailbox
from app.bounces.intake import Outcome, Taken, take
from app.bounces.mailbox import PROCESSED, UNMATCHED, Mailbox, RedisClaim, poll
from app.errors import ServiceUnavailable
from app.settings import Settings
from tests.integration.bounces.conftest import MakeMail, reading
from tests.support.bounces import VACATION, returned
from tests.support.dovecot import Dovecot
from tests.support.ports import free_port
from tests.support.wait import wait_for

PERSON = b"From: moviegoer@example.com\r\nSubject: My tickets\r\n\r\nWhere are they?\r\n"


class Free:
    """A claim that is always granted."""

    def take(self) -> bool:
        return True

    def renew(self) -> None:
        pass


class Killed(BaseException):
    """A SIGKILL, which no handler catches."""


def die(*_given: Any) -> NoReturn:
    raise Killed


def never() -> bool:
    return False


def test_bounces_are_recorded_and_each_message_is_moved(
    make_mail: MakeMail, stored_settings: Settings, dovecot: Dovecot, localhost_pem: Path
) -> None:
    mail = make_mail()
    settings = reading(stored_settings, dovecot, localhost_pem)
    unmatched = returned(message_id="<strange@example.com>", recipient="x@example.com")
    dovecot.append(returned(), VACATION, unmatched, PERSON)
    assert poll(settings, Free(), never) == 4
    assert mail.reload().status == "bounced"
    assert dovecot.folder("INBOX") == []
    assert len(dovecot.folder(PROCESSED)) == 2
    kept = dovecot.folder(UNMATCHED)
    assert len(kept) == 2
    assert kept[1].endswith(b"Where are they?\r\n")
    assert poll(settings, Free(), never) == 0


@pytest.mark.parametrize("capability", ["IMAP4rev1 UIDPLUS NAMESPACE", "IMAP4rev1"])
def test_no_message_is_lost_on_servers_without_move(
    make_mail: MakeMail,
    stored_settings: Settings,
    make_dovecot: Callable[..., Dovecot],
    localhost_pem: Path,
    capability: str,
) -> None:
    make_mail()
    dovecot = make_dovecot(capability=capability)
    settings = reading(stored_settings, dovecot, localhost_pem)
    dovecot.append(PERSON, returned(), PERSON)
    with dovecot.client() as client:
        # Marked by another client; without UIDPLUS, EXPUNGE would remove it.
        client.select_folder("INBOX")
        client.delete_messages([3])
    assert poll(settings, Free(), never) == 2
    assert (len(dovecot.folder(PROCESSED)), len(dovecot.folder(UNMATCHED))) == (1, 1)
    with dovecot.client() as client:
        client.select_folder("INBOX", readonly=True)
        assert 3 in client.search(["DELETED"])
    assert poll(settings, Free(), never) == 0


def test_folders_are_created_before_the_first_bounce_arrives(
    stored_settings: Settings, dovecot: Dovecot, localhost_pem: Path
) -> None:
    assert poll(reading(stored_settings, dovecot, localhost_pem), Free(), never) == 0
    with dovecot.client() as client:
        assert client.folder_exists(PROCESSED)
        assert client.folder_exists(UNMATCHED)


def test_folders_are_created_in_the_personal_namespace(
    make_mail: MakeMail, stored_settings: Settings, make_dovecot: Callable[..., Dovecot], localhost_pem: Path
) -> None:
    make_mail()
    dovecot = make_dovecot(prefix="INBOX.")
    dovecot.append(returned())
    assert poll(reading(stored_settings, dovecot, localhost_pem), Free(), never) == 1
    assert len(dovecot.folder(f"INBOX.{PROCESSED}")) == 1


def test_many_workers_record_each_bounce_once(
    make_mail: MakeMail, stored_settings: Settings, dovecot: Dovecot, localhost_pem: Path
) -> None:
    settings = reading(stored_settings, dovecot, localhost_pem)
    mails = [make_mail(f"evt_{number}", message_id=f"<{number}@example.com>") for number in range(6)]
    dovecot.append(*(returned(message_id=mail.message_id) for mail in mails))
    outcomes: list[Outcome] = []

    def handle(*given: Any) -> Taken:
        taken = take(*given)
        outcomes.append(taken.outcome)
        return taken

    # Without a claim, as when Redis is unavailable.
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(poll, settings, Free(), never, handle) for _ in range(4)]:
            done.result()
    assert outcomes.count(Outcome.RECORDED) == 6
    for mail in mails:
        assert [each.outcome for each in mail.reload().attempts] == ["bounced"]
    assert dovecot.folder("INBOX") == []
    # Two workers that move a message at the same time may leave two copies, but never none.
    assert len(set(dovecot.folder(PROCESSED))) == 6


def test_one_worker_polls_at_a_time(
    make_mail: MakeMail, stored_settings: Settings, dovecot: Dovecot, localhost_pem: Path
) -> None:
    make_mail()
    settings = reading(stored_settings, dovecot, localhost_pem)
    dovecot.append(PERSON)
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as store:
        assert RedisClaim(store, settings.namespace).take()
        assert poll(settings, RedisClaim(store, settings.namespace), never) == 0
    assert len(dovecot.folder("INBOX")) == 1
    with redis.Redis(port=free_port()) as down:
        assert poll(settings, RedisClaim(down, settings.namespace), never) == 1


def test_worker_killed_between_mailbox_and_record_leaves_the_message(
    make_mail: MakeMail, stored_settings: Settings, dovecot: Dovecot, localhost_pem: Path
) -> None:
    mail = make_mail()
    settings = reading(stored_settings, dovecot, localhost_pem)
    dovecot.append(returned())

    with pytest.raises(Killed):
        poll(settings, Free(), never, die)
    assert len(dovecot.folder("INBOX")) == 1
    assert poll(settings, Free(), never) == 1
    assert mail.reload().status == "bounced"


def test_worker_killed_between_record_and_move_records_nothing_twice(
    make_mail: MakeMail,
    stored_settings: Settings,
    dovecot: Dovecot,
    localhost_pem: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mail = make_mail()
    settings = reading(stored_settings, dovecot, localhost_pem)
    dovecot.append(returned())

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Mailbox, "move", die)
        poll(settings, Free(), never)
    assert mail.reload().status == "bounced"
    assert poll(settings, Free(), never) == 1
    assert [each.outcome for each in mail.reload().attempts] == ["bounced"]
    assert len(dovecot.folder(PROCESSED)) == 1


def test_messages_wait_while_mongodb_is_unavailable(
    make_mail: MakeMail, stored_settings: Settings, dovecot: Dovecot, localhost_pem: Path
) -> None:
    make_mail()
    settings = reading(stored_settings, dovecot, localhost_pem)
    dovecot.append(returned(), PERSON)

    def down(*_given: Any) -> Taken:
        raise ServiceUnavailable("The database is unavailable.")

    with pytest.raises(ServiceUnavailable):
        poll(settings, Free(), never, down)
    assert len(dovecot.folder("INBOX")) == 2


def test_message_that_raises_an_unexpected_error_is_kept_for_an_operator(
    make_mail: MakeMail, stored_settings: Settings, dovecot: Dovecot, localhost_pem: Path
) -> None:
    make_mail()
    settings = reading(stored_settings, dovecot, localhost_pem)
    dovecot.append(returned(), returned())
    seen: list[object] = []

    def broken_once(*given: Any) -> Taken:
        seen.append(given)
        if len(seen) == 1:
            raise KeyError("a bug")
        return take(*given)

    assert poll(settings, Free(), never, broken_once) == 2
    assert (len(dovecot.folder(UNMATCHED)), len(dovecot.folder(PROCESSED))) == (1, 1)


def test_untrusted_certificate_and_wrong_password_are_refused(
    make_mail: MakeMail, stored_settings: Settings, dovecot: Dovecot, localhost_pem: Path
) -> None:
    make_mail()
    with pytest.raises(OSError, match="certificate verify failed"):
        poll(reading(stored_settings, dovecot, localhost_pem, bounce_mailbox_ca_file=None), Free(), never)
    wrong = SecretStr(dovecot.url.replace("horse", "mule"))
    with pytest.raises(LoginError):
        poll(reading(stored_settings, dovecot, localhost_pem, bounce_mailbox_url=wrong), Free(), never)


def test_workers_poll_the_mailbox(
    make_mail: MakeMail,
    stored_settings: Settings,
    dovecot: Dovecot,
    localhost_pem: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.support.actors import StubWorker

    monkeypatch.setattr(mailbox, "POLL_SECONDS", 0.2)
    mail = make_mail()
    dovecot.append(returned())
    stub = StubWorker(reading(stored_settings, dovecot, localhost_pem), sweeping=True, queues=None)
    try:
        wait_for(lambda: mail.reload().status == "bounced", 30, "no worker read the mailbox")
        wait_for(lambda: dovecot.folder("INBOX") == [], 30, "the message was not moved")
    finally:
        stub.worker.stop()
        stub.broker.close()

"""The SMTP transport with a real server over sockets that replies, refuses, and disconnects on demand."""

from __future__ import annotations

import email
import logging
import socket
import subprocess
import sys
import threading
import time
import traceback
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from actors.channels.email.errors import AuthenticationFailed
from actors.channels.email.server import Server
from actors.channels.email.session import Session
from actors.channels.email.smtp import Transport
from actors.errors import DeliveryError, PermanentFailure, Postponed, TemporaryFailure, Uncertain
from tests.support.smtpd import (
    CUT,
    IN_THE_MIDST,
    PASSWORD,
    SILENCE,
    Smtpd,
    Speech,
    content_of,
    mail,
    run,
    serving,
    settings,
    to,
)

#: What a server does instead of replying → SMTP_TIMEOUT in seconds. It is short only if it is meant to
#: expire, because the greeting must arrive within it too.
TIMEOUTS = {CUT: 30.0, SILENCE: 1.0}

#: Sends a mail, then one in a fork, then another one, to the server on this port.
FORKING_PROGRAM = """\
import os, sys
from tests.support.smtpd import Smtpd, mail, to

server = Smtpd()
server.port = int(sys.argv[1])
transport = to(server)
transport.send(mail())
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
transport.send(mail())
os._exit(0)
"""


@pytest.fixture(params=[[], ["250-PIPELINING"]], ids=["one-by-one", "pipelined"])
def smtpd(request: pytest.FixtureRequest) -> Iterator[Smtpd]:
    """A scripted mail server without TLS, with or without pipelining."""
    with run("none") as server:
        server.offers = request.param
        yield server


@pytest.fixture
def transport(smtpd: Smtpd) -> Iterator[Transport]:
    with closing(to(smtpd)) as transport:
        yield transport


# --- A mail arrives


@pytest.mark.parametrize("security", ["none", "starttls", "ssl"])
def test_a_mail_arrives_as_it_was_composed(security: str, localhost_pem: Path) -> None:
    login: dict[str, Any] = {} if security == "none" else {"smtp_username": "user", "smtp_password": PASSWORD}
    with (
        run(security, localhost_pem) as smtpd,
        closing(to(smtpd, smtp_security=security, smtp_ca_file=localhost_pem, **login)) as transport,
    ):
        sent = mail(".\n..\n. dots\nFrom here\n")
        reply = transport.send(sent)
        assert (reply.code, reply.text) == (250, "2.0.0 queued as 1")
        (arrived,) = smtpd.mails
        assert (arrived.mail_from, arrived.rcpt_tos) == ("tickets@example.com", ["jane.doe@example.com"])
        message = email.message_from_bytes(content_of(arrived), policy=default)
        text, _ = message.iter_parts()
        assert text.get_content().splitlines() == [".", "..", ". dots", "From here"]
        assert message["Message-ID"] == "<abc@example.com>"
        assert smtpd.count("auth") == bool(login)


# --- A reused connection


def test_one_connection_serves_many_mails(smtpd: Smtpd, transport: Transport) -> None:
    for _ in range(5):
        transport.send(mail())
    assert (smtpd.count("connect"), smtpd.count("rset"), len(smtpd.mails)) == (1, 0, 5)


def test_an_idle_connection_is_checked_with_rset(smtpd: Smtpd) -> None:
    with closing(to(smtpd, unchecked_seconds=0.0)) as transport:
        for _ in range(5):
            transport.send(mail())
        smtpd.script["rset"] = [CUT]
        transport.send(mail())
    assert (smtpd.count("connect"), smtpd.count("rset"), len(smtpd.mails)) == (2, 5, 6)


def test_a_connection_is_renewed_after_a_number_of_mails(smtpd: Smtpd) -> None:
    with closing(to(smtpd, max_mails=2)) as transport:
        for _ in range(5):
            transport.send(mail())
    assert (smtpd.count("connect"), smtpd.count("quit"), len(smtpd.mails)) == (3, 3, 5)


def test_a_connection_is_renewed_after_idling(smtpd: Smtpd) -> None:
    with closing(to(smtpd, max_idle_seconds=0.0)) as transport:
        for _ in range(3):
            transport.send(mail())
    assert (smtpd.count("connect"), smtpd.count("rset"), len(smtpd.mails)) == (3, 0, 3)


def test_a_connection_closed_by_the_server_loses_no_mail(smtpd: Smtpd, transport: Transport) -> None:
    transport.send(mail())
    smtpd.hang_up()
    transport.send(mail())
    assert (smtpd.count("connect"), len(smtpd.mails)) == (2, 2)


@pytest.mark.parametrize("reply", [CUT, "421 4.7.0 too many mails on this connection"])
@pytest.mark.parametrize("command", ["rset", "mail", "rcpt", "data"])
def test_a_connection_lost_during_a_mail_neither_loses_nor_duplicates_it(
    smtpd: Smtpd, command: str, reply: str
) -> None:
    with closing(to(smtpd, unchecked_seconds=0.0)) as transport:
        transport.send(mail())
        smtpd.script[command] = [reply]
        transport.send(mail())
    assert (smtpd.count("connect"), len(smtpd.mails)) == (2, 2)


def test_a_new_connection_that_is_lost_is_not_retried(smtpd: Smtpd, transport: Transport) -> None:
    smtpd.script["mail"] = [CUT, CUT]
    with pytest.raises(Postponed):
        transport.send(mail())
    assert smtpd.count("connect") == 1


def test_each_thread_has_its_own_connection(smtpd: Smtpd, transport: Transport) -> None:
    together = threading.Barrier(2)

    def send(_: int) -> None:
        together.wait()
        transport.send(mail())
        together.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(send, range(4)))
    assert (smtpd.count("connect"), len(smtpd.mails)) == (2, 4)


def test_a_forked_process_opens_its_own_connection(smtpd: Smtpd) -> None:
    # In a separate process: a fork of this one may wait forever for a lock that another thread holds.
    subprocess.run([sys.executable, "-c", FORKING_PROGRAM, str(smtpd.port)], check=True, timeout=120)
    assert (smtpd.count("connect"), smtpd.count("quit"), len(smtpd.mails)) == (2, 0, 3)


@pytest.mark.parametrize("reply", ["500 what?", CUT])
def test_a_failed_quit_is_ignored(smtpd: Smtpd, reply: str) -> None:
    smtpd.script["quit"] = [reply]
    transport = to(smtpd)
    transport.send(mail())
    transport.close()
    transport.close()
    assert len(smtpd.mails) == 1


def test_a_closed_client_can_send_again(smtpd: Smtpd, transport: Transport) -> None:
    transport.send(mail())
    transport.close()
    transport.send(mail())
    assert (smtpd.count("connect"), smtpd.count("quit"), len(smtpd.mails)) == (2, 1, 2)


# --- A mail that is not accepted


@pytest.mark.parametrize(
    ("command", "reply", "error", "phase"),
    [
        ("mail", "451 4.3.0 later", Postponed, "mail"),
        ("rcpt", "450 4.2.0 greylisted", TemporaryFailure, "rcpt"),
        ("rcpt", "550 5.1.1 no such user", PermanentFailure, "rcpt"),
        ("data", "451 4.3.0 later", Postponed, "data"),
        ("data", "554 5.5.1 no valid recipients", PermanentFailure, "data"),
        ("message", "451 4.7.1 later", TemporaryFailure, "after-data"),
        ("message", "554 5.7.1 spam", PermanentFailure, "after-data"),
        ("message", "550 5.4.5 daily quota", Postponed, "after-data"),
    ],
)
def test_the_connection_is_reused_after_a_refused_mail(
    smtpd: Smtpd, transport: Transport, command: str, reply: str, error: type[DeliveryError], phase: str
) -> None:
    smtpd.script[command] = [reply]
    with pytest.raises(error, match=f"SMTP {phase}: {reply}") as raised:
        transport.send(mail())
    assert type(raised.value) is error
    assert raised.value.code == int(reply[:3])
    transport.send(mail())
    assert (smtpd.count("connect"), len(smtpd.mails)) == (1, 1)
    assert smtpd.count("rset") == 1, "what was begun and not ended is ended"


@pytest.mark.parametrize("end", ["554 5.5.1 no valid recipients", "250 2.0.0 sent to nobody", CUT, SILENCE])
def test_a_server_that_accepts_data_without_recipients_gets_an_empty_mail(smtpd: Smtpd, end: str) -> None:
    smtpd.offers = ["250-PIPELINING"]
    smtpd.script = {"rcpt": ["550 5.1.1 no such user"], "data": ["354 go on"], "end": [end]}
    with closing(to(smtpd, smtp_timeout=TIMEOUTS.get(end, 30.0))) as transport:
        with pytest.raises(PermanentFailure, match="SMTP rcpt: 550"):
            transport.send(mail())
        transport.send(mail())
    is_gone = end in (CUT, SILENCE)
    assert (smtpd.count("connect"), smtpd.count("end"), len(smtpd.mails)) == (1 + is_gone, 1, 1)


def test_a_connection_that_ends_after_a_refusal_is_not_kept(smtpd: Smtpd, transport: Transport) -> None:
    smtpd.offers = ["250-PIPELINING"]
    smtpd.script = {"rcpt": ["550 5.1.1 no such user"], "data": ["421 4.3.2 going down"]}
    with pytest.raises(PermanentFailure, match="SMTP rcpt: 550"):
        transport.send(mail())
    transport.send(mail())
    assert (smtpd.count("connect"), smtpd.count("rset"), len(smtpd.mails)) == (2, 0, 1)


def test_only_successful_steps_are_reported(smtpd: Smtpd) -> None:
    smtpd.script["rcpt"] = ["550 5.1.1 no such user"]
    output: list[str] = []
    deadline = time.monotonic() + 60
    with closing(
        Session(Server.of(settings(smtpd)), deadline, lambda phase, _: output.append(phase))
    ) as session:
        with pytest.raises(PermanentFailure):
            session.send("a@example.com", "b@example.com", b"\r\n", deadline)
        assert session.can_send(60.0)
        session.send("a@example.com", "b@example.com", b"\r\n", deadline)
    assert output == ["connect", "ehlo", "mail", "mail", "rcpt", "data", "data", "after-data"]


def test_replies_to_a_refused_mail_are_not_read_as_replies_to_the_next(
    smtpd: Smtpd, transport: Transport
) -> None:
    smtpd.script["mail"] = ["451 4.3.0 later"]
    with pytest.raises(Postponed, match="SMTP mail: 451"):
        transport.send(mail())
    with pytest.raises(PermanentFailure, match="SMTP rcpt: 550"):
        smtpd.script["rcpt"] = ["550 5.1.1 no such user"]
        transport.send(mail())
    transport.send(mail())
    assert (smtpd.count("connect"), len(smtpd.mails)) == (1, 1)


def test_a_command_with_a_line_break_is_refused(smtpd: Smtpd) -> None:
    deadline = time.monotonic() + 60
    with (
        closing(Session(Server.of(settings(smtpd)), deadline)) as session,
        pytest.raises(ValueError, match=r"printable|newline"),
    ):
        session.send("a@example.com", "b@example.com>\r\nRCPT TO:<c@example.com", b"\r\n", deadline)
    assert smtpd.count("rcpt") == 0


@pytest.mark.parametrize(("command", "phase"), [("mail", "mail"), ("rcpt", "rcpt"), ("data", "data")])
@pytest.mark.parametrize("reply", [CUT, SILENCE])
def test_a_connection_lost_before_the_end_of_data_is_postponed(
    smtpd: Smtpd, command: str, phase: str, reply: str
) -> None:
    smtpd.script[command] = [reply]
    with closing(to(smtpd, smtp_timeout=TIMEOUTS[reply])) as transport:
        if smtpd.offers and reply == SILENCE and command != "mail":
            # PIPELINING may be the cause, so it is sent immediately over a new connection
            transport.send(mail())
            assert len(smtpd.mails) == 1
            return
        with pytest.raises(Postponed) as raised:
            transport.send(mail())
        assert (raised.value.phase, raised.value.code) == (phase, None)
        transport.send(mail())
    assert (smtpd.count("connect"), len(smtpd.mails)) == (2, 1)


@pytest.mark.parametrize("reply", [CUT, SILENCE])
@pytest.mark.parametrize("kept", [False, True])
def test_a_missing_reply_to_a_whole_mail_is_uncertain_and_never_retried(
    smtpd: Smtpd, kept: bool, reply: str
) -> None:
    smtpd.script["message"] = ["250 OK"] * kept + [reply]
    with closing(to(smtpd, smtp_timeout=TIMEOUTS[reply])) as transport:
        if kept:
            transport.send(mail())
        with pytest.raises(Uncertain) as raised:
            transport.send(mail())
    assert (raised.value.phase, raised.value.code) == ("after-data", None)
    assert (smtpd.count("connect"), smtpd.count("message")) == (1, 1 + kept)


def test_a_partly_transmitted_mail_was_not_accepted(smtpd: Smtpd, transport: Transport) -> None:
    smtpd.script["data"] = [IN_THE_MIDST]
    with pytest.raises(Postponed) as raised:
        transport.send(mail("x" * 70 * 400_000))
    assert raised.value.phase == "data"


def test_every_step_before_the_end_of_data_respects_the_deadline(smtpd: Smtpd) -> None:
    with pytest.raises(Postponed, match="exceeded the time limit"):
        Session(Server.of(settings(smtpd)), time.monotonic())


# --- A server that can't be used


@pytest.mark.parametrize(
    ("words", "phase", "code"),
    [
        (b"554 5.7.1 no service for you\r\n", "greeting", 554),
        (b"421 4.3.2 too many connections\r\n", "greeting", 421),
        (b"HTTP/1.1 400 Bad Request\r\n", "greeting", -1),
        (b"220 " + b"x" * 10_000, "greeting", None),
        (b"", "greeting", None),
    ],
)
def test_a_server_that_refuses_service_postpones_the_mail(words: bytes, phase: str, code: int | None) -> None:
    smtpd = Smtpd()
    with serving(smtpd, lambda: Speech(words)), pytest.raises(Postponed) as raised:
        to(smtpd, smtp_timeout=30.0 if code else 0.5).send(mail())
    assert (raised.value.phase, raised.value.code) == (phase, code)


def test_an_unavailable_server_postpones_the_mail() -> None:
    smtpd = Smtpd()
    smtpd.loop.close()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        smtpd.port = unused.getsockname()[1]
        with pytest.raises(Postponed, match=rf"SMTP connect: localhost:{smtpd.port}: .*refused"):
            to(smtpd).send(mail())


@pytest.mark.parametrize(("security", "phase"), [("starttls", "starttls"), ("ssl", "connect")])
def test_a_certificate_for_another_name_is_refused(security: str, phase: str, elsewhere_pem: Path) -> None:
    with run(security, elsewhere_pem) as smtpd:
        with pytest.raises(
            Postponed, match=r"certificate not trusted: Hostname mismatch.*'localhost'"
        ) as raised:
            to(smtpd, smtp_security=security, smtp_ca_file=elsewhere_pem).send(mail())
        assert raised.value.phase == phase
        assert smtpd.count("mail") == 0


@pytest.mark.parametrize("security", ["starttls", "ssl"])
def test_a_certificate_of_an_unknown_authority_is_refused(security: str, localhost_pem: Path) -> None:
    with run(security, localhost_pem) as smtpd:
        with pytest.raises(Postponed, match=r"certificate not trusted: self.signed"):
            to(smtpd, smtp_security=security).send(mail())
        assert smtpd.count("mail") == 0


def test_a_server_without_starttls_gets_no_plaintext(smtpd: Smtpd) -> None:
    with pytest.raises(Postponed, match="does not offer STARTTLS"):
        to(smtpd, smtp_security="starttls", smtp_username="user", smtp_password=PASSWORD).send(mail())
    assert smtpd.commands == ["connect", "ehlo"]


# --- Logging in


def test_a_refused_login_is_tried_once_and_reveals_no_secret(
    localhost_pem: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with run("starttls", localhost_pem) as smtpd:
        transport = to(
            smtpd,
            smtp_security="starttls",
            smtp_ca_file=localhost_pem,
            smtp_username="user",
            smtp_password="open sesame",
        )
        with pytest.raises(AuthenticationFailed, match=r"SMTP auth: 535 5\.7\.8 .*app password") as raised:
            transport.send(mail())
        assert (smtpd.count("auth"), smtpd.count("mail")) == (1, 0)
    output = caplog.text + repr(transport.__dict__) + "".join(traceback.format_exception(raised.value))
    assert "sesame" not in output
    assert b64encode(b"\0user\0open sesame").decode() not in output


@pytest.mark.parametrize("mechanism", ["auto", "plain", "login"])
def test_a_password_may_have_any_characters(localhost_pem: Path, mechanism: str) -> None:
    with run("ssl", localhost_pem) as smtpd:
        smtpd.password = "sésame 🎬"
        login: Any = {"smtp_username": "user", "smtp_password": smtpd.password, "smtp_auth": mechanism}
        with closing(to(smtpd, smtp_security="ssl", smtp_ca_file=localhost_pem, **login)) as transport:
            transport.send(mail())
        assert len(smtpd.mails) == 1


def test_a_mechanism_that_the_server_does_not_offer_is_named(localhost_pem: Path) -> None:
    with run("ssl", localhost_pem) as smtpd:
        login: Any = {"smtp_username": "user", "smtp_password": PASSWORD, "smtp_auth": "cram-md5"}
        with pytest.raises(
            AuthenticationFailed, match=r"SMTP_AUTH is cram-md5, but localhost:\d+ offers .*PLAIN"
        ):
            to(smtpd, smtp_security="ssl", smtp_ca_file=localhost_pem, **login).send(mail())


def test_a_server_without_auth_is_reported(smtpd: Smtpd) -> None:
    with pytest.raises(AuthenticationFailed, match=r"localhost:\d+ offers no AUTH"):
        to(smtpd, smtp_username="user", smtp_password=PASSWORD).send(mail())


def test_without_a_user_name_there_is_no_login(smtpd: Smtpd, transport: Transport) -> None:
    transport.send(mail())
    assert smtpd.count("auth") == 0

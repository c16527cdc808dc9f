"""A mail server that wants less of us: it refuses the login, or has enough connections."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actors.channels.email.errors import (
    AuthenticationFailed,
    OutOfTurn,
    TooManyConnections,
    Uncertain,
)
from actors.channels.email.restraint import ConnectionLimit, LoginBreaker
from actors.channels.email.smtp import Transport
from tests.support.smtpd import SILENCE, Smtpd, mail, run, settings, to
from tests.support.wait import wait_for

LogLines = Callable[[], list[dict[str, Any]]]


def wrong(smtpd: Smtpd, pem: Path, breaker: LoginBreaker) -> Transport:
    """A transport whose password is wrong."""
    return Transport(
        settings(
            smtpd, smtp_security="ssl", smtp_ca_file=pem, smtp_username="user", smtp_password="open sesame"
        ),
        breaker=breaker,
    )


def test_after_a_refused_login_no_mail_is_tried_until_the_interval_is_over(
    localhost_pem: Path, log_lines: LogLines
) -> None:
    with run("ssl", localhost_pem) as smtpd:
        transport = wrong(smtpd, localhost_pem, LoginBreaker())
        with pytest.raises(AuthenticationFailed) as refused:
            transport.send(mail())
        for _ in range(20):
            with pytest.raises(OutOfTurn, match=r"not tried: SMTP auth: 535 .* app password") as kept:
                transport.send(mail())
        assert 29 < kept.value.seconds <= refused.value.seconds <= 30
        assert smtpd.count("connect") == 1
    (line,) = [line for line in log_lines() if "app password" in line.get("reason", "")]
    assert line["level"] == "error", "one loud line for all the mails"


def test_refused_logins_are_tried_again_at_growing_intervals(log_lines: LogLines) -> None:
    breaker = LoginBreaker(shortest=0.001, longest=0.003)
    for _ in range(4):
        wait_for(partial(refuse_login, breaker), 5, "the next try")
    refusals = [line for line in log_lines() if "login" in line["message"]]
    assert [line["next_try_in_seconds"] for line in refusals] == [0.001, 0.002, 0.003, 0.003]


def refuse_login(breaker: LoginBreaker) -> bool:
    """Whether it was this login's turn."""
    try:
        with breaker.login(time.monotonic()):
            raise AuthenticationFailed("auth", 535, "5.7.8 wrong password")
    except AuthenticationFailed:
        return True
    except OutOfTurn:
        return False


def test_many_threads_with_a_wrong_password_try_it_once(localhost_pem: Path) -> None:
    with run("ssl", localhost_pem) as smtpd:
        transport = wrong(smtpd, localhost_pem, LoginBreaker())

        def send(_: int) -> type[BaseException]:
            with pytest.raises((AuthenticationFailed, OutOfTurn)) as raised:
                transport.send(mail())
            return raised.type

        with ThreadPoolExecutor(8) as pool:
            raised = list(pool.map(send, range(8)))
        assert smtpd.count("auth") == 1
        assert sorted(map(str, raised)) == sorted(map(str, [AuthenticationFailed] + [OutOfTurn] * 7))


def sends_out_of_turn(transport: Transport) -> bool:
    try:
        transport.send(mail())
    except OutOfTurn:
        return True
    return False


def test_once_the_login_is_accepted_all_threads_send_again(smtpd: Smtpd, log_lines: LogLines) -> None:
    # A server that wants a login says so at MAIL; this one changes its mind.
    smtpd.script["mail"] = ["530 5.7.0 Authentication Required"]
    with closing(Transport(settings(smtpd), breaker=LoginBreaker(shortest=0.05))) as transport:
        with pytest.raises(AuthenticationFailed):
            transport.send(mail())
        wait_for(lambda: not sends_out_of_turn(transport), 2, "the next try")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: transport.send(mail()), range(8)))
    assert len(smtpd.mails) == 9
    assert [line["message"] for line in log_lines() if "login" in line["message"]] == [
        "the mail server refuses our login: mails are kept, none is sent until this is mended",
        "the mail server accepts our login again",
    ]


def test_one_login_that_is_accepted_is_enough_to_let_all_threads_send(localhost_pem: Path) -> None:
    with run("ssl", localhost_pem) as smtpd:
        smtpd.script["message"] = [SILENCE, SILENCE]
        transport = to(
            smtpd,
            smtp_security="ssl",
            smtp_ca_file=localhost_pem,
            smtp_username="user",
            smtp_password=smtpd.password,
        )
        with closing(transport), ThreadPoolExecutor(2) as pool:
            slow = [pool.submit(transport.send, mail()) for _ in range(2)]
            wait_for(lambda: smtpd.count("message") == 2, 2, "two threads at once")
            transport.send(mail())
            assert [future.done() for future in slow] == [False, False]
            smtpd.hang_up()
            assert {type(future.exception()) for future in slow} == {Uncertain}


def test_a_server_that_wants_fewer_connections_gets_fewer(smtpd: Smtpd) -> None:
    smtpd.most_connections = 3

    def send(transport: Transport) -> int:
        for refusals in range(50):
            try:
                transport.send(mail())
            except TooManyConnections:
                continue
            return refusals
        pytest.fail("never sent")

    with closing(to(smtpd)) as transport:
        transport.send(mail())
        with ThreadPoolExecutor(8) as pool:
            refusals = list(pool.map(lambda _: send(transport), range(100)))
    assert len(smtpd.mails) == 101
    # Of eight at the start all but one, and then one for each step that the limit still has to go down.
    assert sum(refusals) <= 7 + 6


def test_while_connections_are_limited_a_mail_waits_for_one() -> None:
    limit = ConnectionLimit()
    soon = time.monotonic() + 60
    with pytest.raises(TooManyConnections), limit.place(soon), limit.place(soon):
        raise TooManyConnections("mail", 432, "too many")
    with (
        limit.place(soon),
        pytest.raises(OutOfTurn, match="the server allows 1 connections at once"),
        limit.place(0),
    ):
        pass
    with limit.place(0):
        pass


def test_after_a_while_the_server_is_asked_for_more_connections_again() -> None:
    limit = ConnectionLimit(relief=0.0)
    with pytest.raises(TooManyConnections), limit.place(0):
        raise TooManyConnections("mail", 432, "too many")
    with limit.place(0), limit.place(0):
        pass

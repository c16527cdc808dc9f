"""A failing mail server: refused logins, silence, refused connections, connection limits."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.channels.email.errors import AuthenticationFailed, smtp_error
from actors.channels.email.server import Server
from actors.channels.email.smtp import Relays, Transport
from actors.circuit import Circuit, ConnectionLimit
from actors.errors import OutOfTurn, PermanentFailure, Postponed, TooManyConnections, Uncertain
from tests.support.smtpd import CUT, SILENCE, Smtpd, mail, run, settings, to
from tests.support.wait import wait_for

LogLines = Callable[[], list[dict[str, Any]]]


def wrong(smtpd: Smtpd, pem: Path, circuit: Circuit) -> Transport:
    """A transport with a wrong password."""
    login = {"smtp_username": "user", "smtp_password": "open sesame"}
    server = Server.of(settings(smtpd, smtp_security="ssl", smtp_ca_file=pem, **login))
    return Transport(server, circuit=circuit)


def test_after_a_refused_login_no_mail_is_tried_until_the_interval_ends(
    localhost_pem: Path, log_lines: LogLines
) -> None:
    with run("ssl", localhost_pem) as smtpd:
        transport = wrong(smtpd, localhost_pem, Circuit())
        with pytest.raises(AuthenticationFailed) as refused:
            transport.send(mail())
        for _ in range(20):
            with pytest.raises(OutOfTurn, match=r"not tried: SMTP auth: 535 .* app password") as kept:
                transport.send(mail())
        assert 29 < kept.value.seconds <= refused.value.seconds <= 30
        assert smtpd.count("connect") == 1
        assert not transport.is_quick
    (line,) = [line for line in log_lines() if "app password" in line.get("reason", "")]
    assert line["level"] == "error", "one loud line for all the mails"


def test_refused_logins_are_tried_again_at_growing_intervals(localhost_pem: Path) -> None:
    with run("ssl", localhost_pem) as smtpd:
        transport = wrong(smtpd, localhost_pem, Circuit(login_intervals=(0.1, 0.3)))
        waits = []
        for tries in (1, 2, 3, 4):
            started = time.monotonic()
            while smtpd.count("auth") < tries:
                with pytest.raises((AuthenticationFailed, OutOfTurn)):
                    transport.send(mail())
            waits.append(time.monotonic() - started)
        assert waits[1] >= 0.1
        assert waits[2] >= 0.2
        assert waits[3] >= 0.3


def test_threads_with_a_wrong_password_try_it_once_in_total(localhost_pem: Path) -> None:
    with run("ssl", localhost_pem) as smtpd:
        transport = wrong(smtpd, localhost_pem, Circuit())

        def send(_: int) -> type[BaseException]:
            with pytest.raises((AuthenticationFailed, OutOfTurn)) as raised:
                transport.send(mail())
            return raised.type

        with ThreadPoolExecutor(8) as pool:
            raised = list(pool.map(send, range(8)))
        assert smtpd.count("auth") == 1
        assert sorted(map(str, raised)) == sorted(map(str, [AuthenticationFailed] + [OutOfTurn] * 7))


def is_out_of_turn(transport: Transport) -> bool:
    try:
        transport.send(mail())
    except OutOfTurn:
        return True
    return False


def test_all_threads_send_again_after_an_accepted_login(smtpd: Smtpd, log_lines: LogLines) -> None:
    # A server that requires a login refuses MAIL. This one accepts it later.
    smtpd.script["mail"] = ["530 5.7.0 Authentication Required"]
    circuit = Circuit(login_intervals=(0.05, 0.05))
    with closing(Transport(Server.of(settings(smtpd)), circuit=circuit)) as transport:
        with pytest.raises(AuthenticationFailed):
            transport.send(mail())
        wait_for(lambda: not is_out_of_turn(transport), 2, "the next try")
        assert transport.is_quick
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: transport.send(mail()), range(8)))
    assert len(smtpd.mails) == 9
    assert [line["message"] for line in log_lines() if line["message"].startswith("the mail server")] == [
        "the mail server refuses our login: emails are held until the settings are corrected",
        "the mail server works again",
    ]


# --- Slow, or unavailable


@contextmanager
def listening() -> Iterator[int]:
    """The port of a server that accepts connections and never greets."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        yield server.getsockname()[1]


def at(port: int, **changes: Any) -> Server:
    smtpd = Smtpd()
    smtpd.loop.close()
    smtpd.port = port
    return Server.of(settings(smtpd, **changes))


def test_a_server_that_never_greets_occupies_no_threads() -> None:
    with listening() as port:
        transport = Transport(at(port, smtp_timeout=20.0), connect_wait_seconds=0.2)
        started = time.monotonic()

        def send(_: int) -> None:
            with pytest.raises(OutOfTurn):
                transport.send(mail())

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(send, range(200)))
        assert time.monotonic() - started < 5
        assert not transport.is_quick


def test_a_slowly_opened_connection_is_used_for_later_mails(
    smtpd: Smtpd,
) -> None:
    smtpd.greeting_delay = 0.6
    with closing(Transport(Server.of(settings(smtpd)), connect_wait_seconds=0.1)) as transport:
        with pytest.raises(OutOfTurn, match="is not open yet"):
            transport.send(mail())
        wait_for(lambda: not is_out_of_turn(transport), 5, "the connection was not kept")
        transport.send(mail())
    assert (smtpd.count("connect"), len(smtpd.mails)) == (1, 2)


def test_after_a_refused_connection_one_thread_probes() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    circuit = Circuit(intervals=(0.3, 0.3))
    transport = Transport(at(port), circuit=circuit)
    with pytest.raises(Postponed, match="refused"):
        transport.send(mail())
    with pytest.raises(OutOfTurn, match="not tried: SMTP connect"):
        transport.send(mail())
    with run("none", port=port) as smtpd, closing(transport):
        with ThreadPoolExecutor(8) as pool:
            wait_for(lambda: not all(pool.map(is_out_of_turn, [transport] * 8)), 5, "no probe")
        transport.send(mail())
        assert smtpd.mails
        assert transport.is_quick


def test_a_connection_lost_during_one_mail_does_not_stop_other_mails(smtpd: Smtpd) -> None:
    smtpd.script["rcpt"] = [CUT]
    with closing(Transport(Server.of(settings(smtpd)))) as transport:
        with pytest.raises(Postponed):
            transport.send(mail())
        transport.send(mail())
    assert len(smtpd.mails) == 1


# --- The fallback


def relays(first: Smtpd, second: Smtpd, **changes: Any) -> Relays:
    url = f"smtp://localhost:{second.port}?security=none"
    return Relays(settings(first, smtp_fallback_url=url, **changes), connect_wait_seconds=None)


def test_the_fallback_gets_mails_that_the_first_server_certainly_did_not_accept(smtpd: Smtpd) -> None:
    smtpd.script = {"mail": ["421 4.3.2 shutting down"]}
    with run("none") as second, closing(relays(smtpd, second)) as both:
        assert [both.send(mail()), both.send(mail())] == ["fallback"] * 2
        assert both.is_quick
    assert (len(smtpd.mails), len(second.mails)) == (0, 2)
    assert smtpd.count("connect") == 1, "the circuit of the first is open"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ({"message": [CUT]}, Uncertain),
        ({"rcpt": ["550 5.1.1 no such user"]}, PermanentFailure),
    ],
)
def test_the_fallback_gets_no_mail_that_was_refused_or_may_have_arrived(
    smtpd: Smtpd, script: dict[str, list[str]], error: type[Exception]
) -> None:
    smtpd.script = script
    with run("none") as second, closing(relays(smtpd, second)) as both:
        with pytest.raises(error):
            both.send(mail())
        assert second.count("connect") == 0


# --- Too many connections


def test_one_accepted_login_lets_all_threads_send(localhost_pem: Path) -> None:
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


def test_a_server_that_limits_connections_gets_fewer(smtpd: Smtpd) -> None:
    smtpd.max_connections = 3

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
    # At the start, all but one of eight; then one for each step by which the limit decreases.
    assert sum(refusals) <= 7 + 6


def test_while_connections_are_limited_a_mail_waits_for_one() -> None:
    limit = ConnectionLimit()
    with pytest.raises(TooManyConnections), limit.connection(60), limit.connection(60):
        raise smtp_error(TooManyConnections, "mail", 432, "too many")
    with (
        limit.connection(60),
        pytest.raises(OutOfTurn, match="all connections that the server allows"),
        limit.connection(0),
    ):
        pass
    with limit.connection(0):
        pass


def test_the_connection_limit_is_raised_again_after_a_while() -> None:
    limit = ConnectionLimit(lift_after_seconds=0.0)
    with pytest.raises(TooManyConnections), limit.connection(0):
        raise smtp_error(TooManyConnections, "mail", 432, "too many")
    with limit.connection(0), limit.connection(0):
        pass

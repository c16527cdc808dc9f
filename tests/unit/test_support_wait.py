from __future__ import annotations

import socket

import pytest

from tests.support.ports import free_port, listens
from tests.support.wait import wait_for


def test_the_first_true_value_is_returned() -> None:
    values = iter([0, "", None, "ready", "never asked for"])
    assert wait_for(lambda: next(values), 5, "never") == "ready"


def test_a_condition_that_stays_false_fails_with_the_message() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"after 0 s: no mail came"):
        wait_for(lambda: False, 0, "no mail came")


def test_a_message_that_is_asked_for_tells_how_it_ended() -> None:
    seen: list[int] = []
    with pytest.raises(pytest.fail.Exception, match="1 of 2 came"):
        wait_for(lambda: seen.append(1), 0, lambda: f"{len(seen)} of 2 came")


def test_a_free_port_can_be_listened_on_and_is_never_a_clients() -> None:
    port = free_port()
    assert port < 32_768, "the first that Linux gives to outgoing connections"
    assert not listens(port)
    with socket.create_server(("127.0.0.1", port)):
        assert listens(port)


def test_a_port_is_not_given_twice_before_its_server_can_have_bound_it() -> None:
    assert len({free_port() for _ in range(100)}) == 100

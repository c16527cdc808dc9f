"""The notation of abuse limits, and which addresses belong to one client."""

from __future__ import annotations

import pytest

from app.abuse.addresses import client_of
from app.settings import ATTEMPT_KINDS, Settings, SettingsError, load_settings
from app.settings.budgets import Budget, parse_budgets
from cli.attempts import KINDS


def test_limits_are_read() -> None:
    assert parse_budgets("user 9/hour 15/day; ip 2/minute", ("user", "ip")) == {
        "user": [Budget(9, 3_600), Budget(15, 86_400)],
        "ip": [Budget(2, 60)],
    }
    assert parse_budgets("none", ("user", "ip")) == {}


@pytest.mark.parametrize(
    "text",
    ["", "user", "user 9", "user 9/week", "user 0/hour", "who 9/hour", "user 9/hour; user 9/day", "9/hour"],
)
def test_invalid_limits_stop_the_start(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"must be none, or limits such as 'user 9/hour 15/day; ip 30/day'"):
        parse_budgets(text, ("user", "ip"))
    if text:
        monkeypatch.setenv("CARD_ATTEMPT_LIMITS", text)
        with pytest.raises(
            SettingsError, match="CARD_ATTEMPT_LIMITS: must be none, or limits such as 'booking"
        ):
            load_settings()


def test_the_command_accepts_every_counted_property() -> None:
    assert KINDS == ATTEMPT_KINDS


def test_attempts_are_limited_by_default() -> None:
    assert set(Settings(_env_file=None).card_attempt_budgets) == {"booking", "user", "ip", "card"}
    assert Settings(_env_file=None, card_attempt_limits="none").card_attempt_budgets == {}


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("203.0.113.8", "203.0.113.8"),
        ("203.0.113.8:40001", "203.0.113.8"),
        (" 203.0.113.8 ", "203.0.113.8"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::7]:443", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::7]", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::7%eth0", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.8", "203.0.113.8"),
    ],
)
def test_a_client_is_an_ipv4_address_or_a_64_network(address: str, client: str) -> None:
    assert client_of(address) == client


@pytest.mark.parametrize(
    "text", ["", "localhost", "203.0.113", "203.0.113.8:port", "[203.0.113.8", "203.0.113.8/24"]
)
def test_an_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        client_of(text)

"""Unit tests run without servers: the fixtures that find or start one fail here."""

from __future__ import annotations

from typing import NoReturn

import pytest


@pytest.fixture(scope="session")
def find() -> NoReturn:
    """Replaces the fixture that provides all servers' URLs."""
    pytest.fail("a unit test asked for a server: move it to tests/integration, or test the rule by itself")


@pytest.fixture(scope="session")
def stripe_server() -> NoReturn:
    """Replaces the Stripe simulator's process."""
    pytest.fail("a unit test asked for the Stripe simulator: move it to tests/integration")


@pytest.fixture
def server_dir() -> NoReturn:
    """Replaces the data directory of a test's own servers."""
    pytest.fail("a unit test starts a server of its own: move it to tests/integration")

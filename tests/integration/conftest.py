"""Mail servers, and certificates for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.smtpd import Smtpd, certificate, run


@pytest.fixture(scope="session")
def localhost_pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine."""
    return certificate(tmp_path_factory.mktemp("localhost"), "localhost")


@pytest.fixture(scope="session")
def elsewhere_pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for another one."""
    return certificate(tmp_path_factory.mktemp("elsewhere"), "mail.example.com")


@pytest.fixture(scope="session")
def expired_pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine that is over."""
    return certificate(tmp_path_factory.mktemp("expired"), "localhost", expired=True)


@pytest.fixture
def smtpd() -> Iterator[Smtpd]:
    """A scripted mail server in the clear."""
    with run("none") as server:
        yield server

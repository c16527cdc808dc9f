from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.settings import Settings
from devtools.stack import plan as stack
from tests.support.ports import free_port

ADDRESSES = ("REDIS_URL", "MONGODB_URI", "PAYMENT_GATEWAY_URL")


def test_embedded_servers_get_free_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(stack._PORTS) < 32_768, "the first that Linux gives to outgoing connections"
    chosen, left = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
    monkeypatch.setattr(stack, "_PORTS", chosen + left)
    created = stack.plan(Settings(_env_file=None), stack.Ports(*chosen), tmp_path)
    assert {urlsplit(created.environment[name]).port for name in ADDRESSES} == set(left)

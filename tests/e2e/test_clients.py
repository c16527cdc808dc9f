"""Generate clients as docs/clients.md describes, and take one payment with each."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app import models
from app.keys.store import create_key
from app.settings import Settings
from tests.support.documents import ROOT
from tests.support.servers import ApiServer
from tests.support.stripe import StripeSimulator
from tests.support.venvs import link_venv

PAGE = (ROOT / "docs" / "clients.md").read_text()

#: Commands not run, because this environment has the packages, and the generated client is on the path.
_INSTALLS = re.compile(r"^(python3 -m venv|venv/bin/pip install) .*\n", re.MULTILINE)


def blocks(heading: str) -> Iterator[tuple[str, str]]:
    """Return the language and text of each example below a heading."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    yield from re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("heading", "program"), [("Python", "pay.py"), ("TypeScript", "pay.mts")])
def test_a_generated_client_takes_a_payment(
    redis_settings: Settings,
    stripe_simulator: StripeSimulator,
    tmp_path: Path,
    node: str,
    lacking: Callable[[str], None],
    heading: str,
    program: str,
) -> None:
    folder = tmp_path / "client"
    link_venv(folder / "venv")
    api = ApiServer(tmp_path / "api", redis_settings.model_copy(update=stripe_simulator.settings))
    api.start()
    models.connect(redis_settings)
    _, key = create_key("shop", ["payments:write"])
    ours = {"http://localhost:8003": api.url, "mk_0123": key}
    printed = ""
    for language, text in blocks(heading):
        there = _INSTALLS.sub("", text)
        for named, real in ours.items():
            there = there.replace(named, real)
        if language != "sh":
            (folder / program).write_text(there)
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", there],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder / "movieapp-client")},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        if done.returncode and there.startswith("npm install") and "network" in done.stderr:
            lacking("npm can't reach its registry")
        assert done.returncode == 0, f"{there}\n{done.stdout}{done.stderr}"
        printed = done.stdout
    api.stop()
    assert re.fullmatch(r"success TXN-\S+\n", printed)

"""Run every example of the guides, in order."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from app import models
from devtools.openapi import openapi
from devtools.postman import collection
from tests.support.documents import ROOT, examples
from tests.support.servers import ApiServer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator


#: Language of an example → command that runs it from standard input.
RUN: dict[str, Sequence[str]] = {
    "sh": ["bash", "-euo", "pipefail", "-s"],
    "python": [sys.executable, "-"],
    "js": ["node", "--input-type=module", "-"],
}

#: Expected output of the examples in docs/api.md, in order.
EXPECTED = (
    '"status":"success"',
    "200 success TXN-",
    "200 success TXN-",
    "Idempotency-Replayed: true",
    '"transactions":',
    "completed 25.5 USD",
    '"error_code":"INSUFFICIENT_FUNDS"',
    "202 requires_action /payment/status/TXN-",
    "200 canceled",
    "200 success REF-",
    " 401 ",
)


def run(language: str, text: str, cwd: Path) -> str:
    done = subprocess.run(
        RUN[language], input=text, cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    return done.stdout


def test_the_examples_of_the_api_guide_work(
    redis_settings: Settings,
    stripe_simulator: StripeSimulator,
    tmp_path: Path,
    node: str,
) -> None:
    changes = {**stripe_simulator.settings, "ratelimit_enabled": True, "namespace": redis_settings.namespace}
    api = ApiServer(tmp_path, redis_settings.model_copy(update=changes))
    api.start()
    output = [
        run(language, text.replace("http://localhost:8003", api.url), tmp_path)
        for language, text in examples("docs/api.md", "sh", "python", "js")
    ]
    api.stop()
    assert len(output) == len(EXPECTED)
    for shown, expected in zip(output, EXPECTED, strict=True):
        assert expected.lower() in shown.lower().replace('": ', '":'), shown


def test_the_postman_collection_works(
    redis_settings: Settings,
    stripe_simulator: StripeSimulator,
    tmp_path: Path,
    npm_install: Callable[[str, str], Path],
) -> None:
    created = ROOT / "docs/postman/movieapp.postman_collection.json"
    assert json.loads(created.read_text()) == collection(openapi())
    models.disconnect()
    folder = npm_install("newman", "^6.2.1")
    api = ApiServer(tmp_path, redis_settings.model_copy(update=stripe_simulator.settings))
    api.start()
    command = ["node_modules/.bin/newman", "run", str(created), "--env-var", f"baseUrl={api.url}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    api.stop()
    assert done.returncode == 0, done.stdout + done.stderr

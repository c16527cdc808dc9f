"""SpamAssassin's offline rules have nothing against a mail of ours."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from actors.channels.email.compose import compose
from actors.channels.email.render import TEMPLATES, Renderer
from actors.channels.email.samples import sample


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_rule_gives_a_point(renderer: Renderer, template: str, lacking: Callable[[str], None]) -> None:
    program = shutil.which("spamassassin")
    if program is None:
        lacking("SpamAssassin: it is not installed (Debian: apt-get install spamassassin)")
        return
    mail = compose(
        renderer.render(template, sample(template)),
        recipient="jane.doe@example.com",
        sender=("MovieApp", "tickets@movieapp.example.com"),
        message_id="<a@movieapp.example.com>",
        date=datetime.now(UTC),
    ).as_bytes()
    done = subprocess.run(
        [program, "--test-mode", "--local"], input=mail, capture_output=True, check=True, timeout=60
    )
    report = done.stdout.decode("utf-8", "replace").partition("Content analysis details:")[2]
    assert report, done.stderr
    rules = re.findall(r"^\s*(-?\d+\.\d) ([A-Z]\w+)", report, re.MULTILINE)
    assert ("0.0", "HTML_MESSAGE") in rules
    assert [rule for points, rule in rules if float(points) > 0] == []

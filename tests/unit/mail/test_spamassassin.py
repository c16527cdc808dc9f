"""SpamAssassin's offline rules give our mails no points."""

from __future__ import annotations

import mailbox
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from actors.channels.email.compose import compose
from actors.channels.email.render import TEMPLATES, Renderer
from actors.channels.email.samples import sample


def test_spamassassin_scores_no_points(
    renderer: Renderer, lacking: Callable[[str], None], tmp_path: Path
) -> None:
    program = shutil.which("spamassassin")
    if program is None:
        lacking("SpamAssassin: it is not installed (Debian: apt-get install spamassassin)")
        return
    box = mailbox.mbox(tmp_path / "mails")
    for template in TEMPLATES:
        mail = compose(
            renderer.render(template, sample(template)),
            recipient="jane.doe@example.com",
            sender=("MovieApp", "tickets@movieapp.example.com"),
            message_id=f"<{template}@movieapp.example.com>",
            date=datetime.now(UTC),
        )
        box.add(mail.as_bytes())
    box.close()
    # Its rules take a second to load: once for all mails.
    done = subprocess.run(
        [program, "--test-mode", "--local", "--mbox", str(tmp_path / "mails")],
        capture_output=True,
        check=True,
        timeout=120,
    )
    judged = done.stdout.decode("utf-8", "replace").split("Content analysis details:")[1:]
    assert len(judged) == len(TEMPLATES), done.stderr
    for template, report in zip(TEMPLATES, judged, strict=True):
        rules = re.findall(r"^\s*(-?\d+\.\d) ([A-Z]\w+)", report, re.MULTILINE)
        assert ("0.0", "HTML_MESSAGE") in rules, template
        assert [rule for points, rule in rules if float(points) > 0] == [], template

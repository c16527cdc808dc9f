"""Run a tutorial: write its files, run its commands in one shell, and compare the output."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.documents import ROOT

_FENCE = re.compile(r'^```(\w+)(?: title="([\w./-]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)

_EXIT_CODE = re.compile(r"exit code: (\d+)\n$")


@dataclass(frozen=True)
class Step:
    """A block of a tutorial.

    Attributes:
        text: commands, or the content of a file.
        file: the name of the file that the block is; None for commands.
        expected: what the commands print, `…` for anything; None if the page does not say.
        exit_code: of the last command.
    """

    text: str
    file: str | None = None
    expected: str | None = None
    exit_code: int = 0


def steps(page: str) -> list[Step]:
    """Return the steps of a page, in order."""
    found: list[Step] = []
    previous = ""
    for language, title, text in _FENCE.findall((ROOT / page).read_text()):
        if title:
            found.append(Step(text, file=title))
        elif language == "sh":
            found.append(Step(text))
        elif language == "text" and previous == "sh":
            code = _EXIT_CODE.search(text)
            found[-1] = Step(
                found[-1].text,
                expected=_EXIT_CODE.sub("", text),
                exit_code=int(code[1]) if code else 0,
            )
        previous = language
    return found


class Shell:
    """One shell for a whole tutorial, which keeps variables and background jobs.

    Args:
        directory: where it starts.
        environment: all variables that it has.
    """

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, commands: str) -> tuple[str, int]:
        """Run commands.

        Returns:
            What they print, stderr included, and the exit code: of the first command that fails, else 0.
        """
        assert self._shell.stdin
        assert self._shell.stdout
        # A command must not read the commands after it.
        script = f"failed=0; trap '[ $failed != 0 ] || failed=$?' ERR; set -o pipefail\n{commands}\n"
        self._shell.stdin.write(f"source /dev/stdin <<'THE_END'\n{script}THE_END\n")
        self._shell.stdin.write("trap - ERR; echo; echo THE_END $failed\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            if found := re.match(r"THE_END (\d+)$", line):
                return "".join(lines), int(found[1])
            lines.append(line)
        raise AssertionError(f"the shell ended:\n{''.join(lines)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the shell and its background processes."""
        assert self._shell.stdin
        assert self._shell.stdout
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait(30)
        self._shell.stdin.close()
        self._shell.stdout.close()


def missing(expected: str, printed: str) -> str | None:
    """Return the first line of `expected` that was not printed after the lines before it; None if all were.

    `…` stands for anything within a line.
    """
    position = 0
    for line in expected.splitlines():
        if line.strip() in ("", "…"):
            continue
        pattern = re.compile(".*?".join(re.escape(part.strip()) for part in line.split("…")))
        found = pattern.search(printed, position)
        if found is None:
            return line
        position = found.end()
    return None

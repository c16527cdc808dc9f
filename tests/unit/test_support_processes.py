from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.processes import Process
from tests.support.wait import wait_for

ROOT = Path(__file__).parents[2]

#: Starts a child and prints its id. With the argument `ignore-sigterm`, both ignore SIGTERM.
PARENT = """
import signal, subprocess, sys
if sys.argv[1:] == ["ignore-sigterm"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
child.wait()
"""


def parent_and_child(log: Path, *arguments: str) -> tuple[Process, psutil.Process]:
    process = Process([sys.executable, "-c", PARENT, *arguments], log)
    process.wait_until(process.output)
    return process, psutil.Process(int(process.output()))


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("arguments", "returncode"),
    [([], -signal.SIGTERM), (["ignore-sigterm"], -signal.SIGKILL)],
    ids=["handles-sigterm", "ignores-sigterm"],
)
def test_stop_ends_a_process_and_its_children(tmp_path: Path, arguments: list[str], returncode: int) -> None:
    process, child = parent_and_child(tmp_path / "log", *arguments)
    assert process.stop(grace=0.2) == returncode
    wait_for(lambda: is_gone(child), 5, "the child is still running")
    assert process.stop() == returncode, "a second time is harmless"


def test_a_process_does_not_outlive_a_killed_test_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    run = f"""
import os, pathlib, sys
from tests.support.processes import Process
process = Process([sys.executable, "-c", {PARENT!r}], pathlib.Path({str(log)!r}))
process.wait_until(process.output)
print(process.pid, flush=True)
os.kill(os.getpid(), {signal.SIGKILL:d})
"""
    done = subprocess.run(
        [sys.executable, "-c", run], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = [pid for pid in (int(done.stdout), int(log.read_text())) if psutil.pid_exists(pid)]
    wait_for(lambda: all(map(ended, left)), 10, "a process is still running")


def ended(pid: int) -> bool:
    try:
        return is_gone(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True

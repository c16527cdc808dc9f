from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.processes import Process
from tests.support.wait import wait_for

ROOT = Path(__file__).parents[2]

#: Prints the id of a child that it starts; with the argument `deaf` ignores SIGTERM, as its child does.
PARENT = """
import signal, subprocess, sys
if sys.argv[1:] == ["deaf"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
child.wait()
"""


def parent_and_child(log: Path, *arguments: str) -> tuple[Process, psutil.Process]:
    process = Process([sys.executable, "-c", PARENT, *arguments], log)
    process.wait_until(process.output)
    return process, psutil.Process(int(process.output()))


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("arguments", "returncode"), [([], -signal.SIGTERM), (["deaf"], -signal.SIGKILL)], ids=["hears", "deaf"]
)
def test_stop_ends_a_process_with_all_that_it_started(
    tmp_path: Path, arguments: list[str], returncode: int
) -> None:
    process, child = parent_and_child(tmp_path / "log", *arguments)
    assert process.stop(grace=0.2) == returncode
    wait_for(lambda: gone(child), 5, "its child is left")
    assert process.stop() == returncode, "a second time is harmless"


def test_kill_leaves_no_time_to_tidy_up(tmp_path: Path) -> None:
    process, child = parent_and_child(tmp_path / "log")
    assert process.kill() == -signal.SIGKILL
    wait_for(lambda: gone(child), 5, "its child is left")


def test_a_process_that_ends_instead_of_getting_ready_shows_what_it_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('port 80 is taken'); raise SystemExit(3)"]
    with (
        Process(command, tmp_path / "log") as process,
        pytest.raises(pytest.fail.Exception, match="ended with 3:\nport 80 is taken"),
    ):
        process.wait_until(lambda: False)


def test_it_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[Process] = []
    thread = threading.Thread(target=lambda: started.append(parent_and_child(tmp_path / "log")[0]))
    thread.start()
    thread.join()
    with started[0] as process:
        assert process.wait(0.3) is None


def test_it_does_not_outlive_a_run_that_is_killed(tmp_path: Path) -> None:
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
    wait_for(lambda: all(map(ended, left)), 10, "a process is left")


def ended(pid: int) -> bool:
    try:
        return gone(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True

"""Ten thousand dead letters: listed as quickly as a hundred, and none is lost by a killed replay."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pika
import pytest

from app.channels import CHANNELS, ChannelName
from app.events.samples import sample
from app.messaging.dead_letters import open_dead_letters
from app.settings import Settings
from tests.support.commands import MOVIEAPP, environment, movieapp
from tests.support.dead_letters import bury
from tests.support.processes import Process
from tests.support.wait import wait_for

#: Dead letters to list, and to replay until the process is killed half-way.
LISTED, REPLAYED = 10_000, 2_000

#: Dead letters of a short queue, with which the others are compared, because a busy machine takes more
#: processor time for the same work.
FEW = 100

#: Maximum processor time of a list and of reading all, as a multiple of a list of a short queue, which takes
#: half a second on an idle machine.
LIST, ALL = 4, 16

EVENT = sample("payment.success")


def bury_many(settings: Settings, count: int) -> set[bytes]:
    """Create that many dead events, each without a required field. Return their bodies."""
    del (unsound := dict(EVENT))["amount"]
    bodies = [json.dumps(unsound | {"event_id": f"evt_{n}"}).encode() for n in range(count)]
    bury(settings, CHANNELS[ChannelName.SMS].queue, bodies)
    return set(bodies)


def alive(channel: Any, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).method.message_count)


def test_listing_dead_letters_takes_no_longer_in_a_long_queue(
    rabbit_settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    bury_many(rabbit_settings, FEW)
    of_few, seconds = list_letters(rabbit_settings, "--limit", "50")
    assert of_few == 50
    bury_many(rabbit_settings, LISTED - FEW)
    shown = [f"list of {FEW}: {seconds:.2f} s of processor"]
    for found, limit, arguments in (
        (50, LIST, ("--limit", "50")),
        (LISTED, ALL, ()),
        (0, ALL, ("--error", "nothing has this")),
    ):
        listed, used = list_letters(rabbit_settings, *arguments)
        assert listed == found
        assert used < limit * seconds
        shown.append(f"list {' '.join(arguments)} of {LISTED}: {used:.2f} s of processor")
    with capsys.disabled():
        print("", *shown, sep="\n  ")  # noqa: T201


def list_letters(settings: Settings, *arguments: str) -> tuple[int, float]:
    """List dead letters in a process. Return their number, and the processor time in seconds."""
    used = processor_time()
    done = subprocess.run(
        [*MOVIEAPP, "dead-letters", "list", "--json", *arguments],
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return len(json.loads(done.stdout)), processor_time() - used


def processor_time() -> float:
    """Return the processor seconds of this process's finished children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_a_killed_replay_loses_no_dead_letter(
    rabbit_settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bodies = bury_many(rabbit_settings, REPLAYED)
    queue = rabbit_settings.namespace + CHANNELS[ChannelName.SMS].queue
    command = [*MOVIEAPP, "dead-letters", "replay", "--yes", "--rate", "10000"]
    with pika.BlockingConnection(pika.URLParameters(rabbit_settings.rabbitmq_url)) as connection:
        channel = connection.channel()
        with Process(command, tmp_path / "replay.log", env=environment(rabbit_settings)) as replay:
            replay.wait_until(lambda: alive(channel, queue) > REPLAYED / 2, timeout=300)
            replay.kill()
        with closing(open_dead_letters(rabbit_settings)) as letters:
            wait_for(lambda: alive(channel, queue) + letters.count(queue) >= REPLAYED, 10, "letters are lost")
            half = alive(channel, queue)
            still_dead = [letter.body for letter in letters.read(queue)]
        assert REPLAYED / 2 < half < REPLAYED

        done = movieapp(
            rabbit_settings, "dead-letters", "replay", "--yes", "--limit", "100", "--rate", "10000"
        )
        assert (done.returncode, done.stdout) == (0, "100 replayed.\n")
        again = half + 100
        assert alive(channel, queue) == again
        deliveries = channel.consume(queue, auto_ack=True)
        replayed = [body for _, (_, _, body) in zip(range(again), deliveries, strict=False)]
    doubled = half + len(still_dead) - REPLAYED
    with capsys.disabled():
        print(f"\nreplay killed after {half} of {REPLAYED}: none lost, {doubled} doubled")  # noqa: T201
    assert {*replayed, *still_dead[100:]} == bodies
    assert doubled <= 1, "at most the one that it had in hand"
    assert len(set(replayed)) >= len(replayed) - doubled


def test_an_interrupted_replay_reports_its_progress(rabbit_settings: Settings, tmp_path: Path) -> None:
    bury(rabbit_settings, CHANNELS[ChannelName.SMS].queue, [b"%d" % number for number in range(500)])
    queue = rabbit_settings.namespace + CHANNELS[ChannelName.SMS].queue
    command = [*MOVIEAPP, "dead-letters", "replay", "--yes", "--rate", "50"]
    with (
        pika.BlockingConnection(pika.URLParameters(rabbit_settings.rabbitmq_url)) as connection,
        Process(command, tmp_path / "replay.log", env=environment(rabbit_settings)) as replay,
    ):
        channel = connection.channel()
        replay.wait_until(lambda: alive(channel, queue) > 5)
        replay.signal(signal.SIGINT)
        assert replay.wait(60) == 1
        replayed = alive(channel, queue)
        with closing(open_dead_letters(rabbit_settings)) as letters:
            assert replayed + letters.count(queue) in (500, 501)
    first, last = replay.output().splitlines()
    assert int(first.removesuffix(" replayed.")) in (replayed, replayed - 1)
    assert last == "Error: Interrupted. Dead letters that were not replayed are kept."

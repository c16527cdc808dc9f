"""A short fuzzing run: every input gets a verdict quickly."""

from benchmarks.fuzz_events import run


def test_every_generated_event_gets_a_verdict_within_50_ms() -> None:
    taken, milliseconds = run(300)
    assert 60 < taken < 240
    assert max(milliseconds) < 50

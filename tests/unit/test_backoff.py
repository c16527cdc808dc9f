from actors.backoff import MAX_DELAY_MS, delay, spread


def test_waits_grow_and_are_randomized() -> None:
    for retries in range(20):
        waits = [delay(retries) for _ in range(200)]
        assert min(waits) >= 2_500
        assert max(waits) <= 3_600_000
        assert len(set(waits)) > 50


def test_the_default_schedule_lasts_for_hours_and_ends_within_a_day() -> None:
    schedules = [sum(delay(retries) for retries in range(12)) for _ in range(500)]
    assert min(schedules) > 3 * 3_600_000
    assert max(schedules) < 24 * 3_600_000


def test_a_delay_stays_below_rabbitmqs_consumer_timeout() -> None:
    assert MAX_DELAY_MS < 15 * 60 * 1_000
    assert max(spread(86_400) for _ in range(200)) <= MAX_DELAY_MS

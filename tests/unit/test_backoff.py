from actors.backoff import delay


def test_delays_grow_spread_and_stay_below_rabbitmqs_consumer_timeout() -> None:
    for retries in range(20):
        delays = [delay(retries) for _ in range(200)]
        assert min(delays) >= 1_000
        assert max(delays) <= 15 * 60 * 1_000
        assert len(set(delays)) > 50


def test_the_default_schedule_ends_within_an_hour() -> None:
    assert max(sum(delay(retries) for retries in range(5)) for _ in range(500)) < 3_600_000

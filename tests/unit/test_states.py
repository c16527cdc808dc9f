from app.payments import states


def test_every_state_is_listed_and_reachable() -> None:
    reachable = {states.PENDING} | set().union(*states.MOVES.values())
    assert reachable == set(states.MOVES)


def test_a_failed_payment_stays_failed() -> None:
    assert states.MOVES[states.FAILED] == frozenset()


def test_only_open_payments_come_before_the_outcome() -> None:
    assert states.sources(states.COMPLETED) == [
        "partially_refunded",
        "pending",
        "refunded",
        "requires_action",
    ]
    assert states.sources(states.FAILED) == ["pending", "requires_action"]


def test_a_booking_is_free_again_after_failure_or_full_refund() -> None:
    assert set(states.MOVES) - states.OPEN == {states.FAILED, states.REFUNDED}


def test_each_outcome_is_announced() -> None:
    assert states.EMITS == {"completed": "payment.success", "failed": "payment.failed"}

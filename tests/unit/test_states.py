from app.payments import states


def test_every_state_is_listed_and_reachable() -> None:
    reachable = {states.PENDING} | set().union(*states.MOVES.values())
    assert reachable == set(states.MOVES)


def test_a_failed_payment_can_only_be_given_back() -> None:
    assert states.MOVES[states.FAILED] == {states.PARTIALLY_REFUNDED, states.REFUNDED}


def test_only_unsettled_payments_can_fail() -> None:
    before_failure = {state for state, targets in states.MOVES.items() if states.FAILED in targets}
    assert before_failure == states.UNSETTLED


def test_a_booking_is_free_again_after_failure_or_full_refund() -> None:
    assert set(states.MOVES) - states.OPEN == {states.FAILED, states.REFUNDED}


def test_each_outcome_is_announced() -> None:
    assert states.EMITS == {"completed": "payment.success", "failed": "payment.failed"}

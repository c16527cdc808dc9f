import pytest

from app.payments import states
from app.payments.states import PaymentStatus as Status


def test_every_state_is_listed_and_reachable() -> None:
    reachable = {Status.PENDING} | set().union(*states.MOVES.values())
    assert reachable == set(states.MOVES)


@pytest.mark.parametrize("unpaid", sorted(states.UNPAID))
def test_a_charged_unpaid_payment_can_only_be_refunded(unpaid: Status) -> None:
    assert states.MOVES[unpaid] == {Status.PARTIALLY_REFUNDED, Status.REFUNDED}


def test_only_unsettled_payments_can_fail() -> None:
    before_failure = {state for state, targets in states.MOVES.items() if Status.FAILED in targets}
    assert before_failure == states.UNSETTLED


def test_a_booking_can_be_paid_again_after_a_failure_or_full_refund() -> None:
    assert set(states.MOVES) - states.OPEN == {Status.FAILED, Status.CANCELED, Status.REFUNDED}


def test_each_outcome_is_announced() -> None:
    assert states.EMITS == {
        "completed": "payment.success",
        "failed": "payment.failed",
        "canceled": "payment.canceled",
    }

"""Refunds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe

from tests.support.stripe_process import Receiver, Simulator, code_of, pay, refund, sdk
from tests.support.wait import wait_for


def test_partial_refunds_never_exceed_the_charge(client: stripe.StripeClient) -> None:
    intent = pay(client)
    part = refund(client, intent, amount=2000, reason="requested_by_customer", metadata={"id": "REF-1"})
    assert (part.status, part.amount, part.metadata["id"]) == ("succeeded", 2000, "REF-1")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        refund(client, intent, amount=3001)
    assert (refused.value.param, refused.value.code) == ("amount", None)
    rest = client.v1.refunds.create({"charge": intent.latest_charge})
    assert rest.amount == 3000
    with pytest.raises(stripe.InvalidRequestError) as refused:
        refund(client, intent)
    assert code_of(refused) == (400, "charge_already_refunded")
    charge = client.v1.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (5000, True)
    assert [found.id for found in client.v1.refunds.list({"charge": charge.id}).data] == [rest.id, part.id]


def test_concurrent_refunds_never_exceed_the_charge(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    intent = pay(client)

    def attempt(_: int) -> str:
        try:
            return str(refund(sdk(simulator), intent, amount=1000).status)
        except stripe.InvalidRequestError:
            return "refused"

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(attempt, range(20)))
    assert (outcomes.count("succeeded"), outcomes.count("refused")) == (5, 15)


def test_a_refund_that_fails_later_restores_its_amount(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    intent = pay(client)
    refunded = refund(client, intent)
    assert simulator.control(f"refunds/{refunded.id}/fail")["status"] == "failed"
    charge = client.v1.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    assert refund(client, intent).status == "succeeded"


@pytest.mark.parametrize(("outcome", "refunded"), [("succeed", 5000), ("fail", 0)])
def test_a_refund_may_be_pending(
    client: stripe.StripeClient, simulator: Simulator, receiver: Receiver, outcome: str, refunded: int
) -> None:
    by_card = refund(client, pay(client, "pm_card_pendingRefund"))
    simulator.fault("pending", match="POST /v1/refunds")
    intent = pay(client)
    by_fault = refund(client, intent)
    for pending in (by_card, by_fault):
        assert (pending.status, pending.pending_reason) == ("pending", "processing")
    simulator.control(f"refunds/{by_fault.id}/{outcome}")
    later = client.v1.refunds.retrieve(by_fault.id)
    assert later.status == {"succeed": "succeeded", "fail": "failed"}[outcome]
    assert getattr(later, "pending_reason", None) is None
    assert client.v1.charges.retrieve(intent.latest_charge).amount_refunded == refunded
    expected = ["refund.created", "refund.updated"] + (["refund.failed"] if outcome == "fail" else [])
    wait_for(lambda: receiver.types(by_fault.id) == sorted(expected), 5, "not every event came")


def test_a_refund_is_listed_as_soon_as_it_is_created(client: stripe.StripeClient) -> None:
    intent = pay(client)
    for number in range(3):
        made = refund(client, intent, amount=100, metadata={"refund_transaction_id": f"REF-{number}"})
        window: Any = {"created": {"gte": made.created, "lte": made.created}, "limit": 1}
        (newest,) = client.v1.refunds.list(window).data
        assert newest.metadata
        assert (newest.id, newest.metadata["refund_transaction_id"]) == (made.id, f"REF-{number}")
    assert len(client.v1.refunds.list({"payment_intent": intent.id}).data) == 3

"""Disputes and early fraud warnings."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.support.stripe_process import Receiver, Simulator, code_of, pay, refund
from tests.support.wait import wait_for

CREATED = ["charge.dispute.created", "charge.dispute.funds_withdrawn"]


@pytest.mark.parametrize(
    ("verdict", "balance", "closing"),
    [
        ("lost", [-5000], ["charge.dispute.closed"]),
        ("won", [-5000, 5000], ["charge.dispute.closed", "charge.dispute.funds_reinstated"]),
    ],
)
def test_a_dispute_from_its_opening_to_the_banks_decision(
    client: stripe.StripeClient,
    simulator: Simulator,
    receiver: Receiver,
    verdict: str,
    balance: list[int],
    closing: list[str],
) -> None:
    intent = pay(client)
    act = f"charges/{intent.latest_charge}/dispute"
    opened = simulator.control(act, reason="product_not_received")
    found: Any = client.v1.disputes.retrieve(opened["id"])
    assert (found.status, found.reason, found.amount) == ("needs_response", "product_not_received", 5000)
    assert (found.charge, found.payment_intent) == (intent.latest_charge, intent.id)
    assert found.evidence_details.due_by - found.created == 14 * 86_400
    assert client.v1.charges.retrieve(intent.latest_charge).disputed
    with pytest.raises(stripe.InvalidRequestError) as refused:
        refund(client, intent)
    assert code_of(refused) == (400, "charge_disputed")

    simulator.control(f"{act}/update", status="under_review")
    updated: Any = client.v1.disputes.retrieve(found.id)
    assert (updated.status, updated.evidence_details.has_evidence) == ("under_review", True)
    simulator.control(f"{act}/close", status=verdict)
    (closed,) = client.v1.disputes.list({"charge": intent.latest_charge}).data
    assert (closed.status, [each.amount for each in closed.balance_transactions]) == (verdict, balance)
    expected = sorted([*CREATED, "charge.dispute.updated", *closing])
    wait_for(lambda: receiver.types(found.id) == expected, 5, lambda: str(receiver.types(found.id)))


def test_an_inquiry_withdraws_no_funds_until_it_becomes_a_dispute(
    client: stripe.StripeClient, simulator: Simulator, receiver: Receiver
) -> None:
    intent = pay(client, "pm_card_createDisputeInquiry")
    (inquiry,) = client.v1.disputes.list({"payment_intent": intent.id}).data
    assert (inquiry.status, inquiry.balance_transactions) == ("warning_needs_response", [])
    assert refund(client, intent, amount=100).status == "succeeded"
    simulator.control(f"charges/{intent.latest_charge}/dispute/update", status="needs_response")
    with pytest.raises(stripe.InvalidRequestError):
        refund(client, intent, amount=100)
    expected = sorted([*CREATED, "charge.dispute.updated"])
    wait_for(lambda: receiver.types(inquiry.id) == expected, 5, lambda: str(receiver.types(inquiry.id)))


def test_a_fraud_warning_follows_a_payment_or_a_control_request(
    client: stripe.StripeClient, simulator: Simulator, receiver: Receiver
) -> None:
    by_card, by_test = pay(client, "pm_card_createIssuerFraudRecord"), pay(client)
    simulator.control(f"charges/{by_test.latest_charge}/early_fraud_warning")
    ids: list[str] = []
    for intent in (by_card, by_test):
        found = client.v1.radar.early_fraud_warnings.list({"payment_intent": intent.id})
        (warning,) = list(found.auto_paging_iter())
        assert (warning.charge, warning.actionable) == (intent.latest_charge, True)
        ids.append(warning.id)
    events = [["radar.early_fraud_warning.created"]] * 2
    wait_for(lambda: [receiver.types(warning) for warning in ids] == events, 5, "a webhook is missing")

"""Signed events, retried until they are delivered."""

from __future__ import annotations

import stripe

from tests.integration.stripe_simulator.conftest import Start
from tests.support.ports import free_port
from tests.support.stripe_process import Receiver, Simulator, pay, refund, sdk
from tests.support.wait import wait_for


def test_every_change_sends_a_signed_event(
    client: stripe.StripeClient, simulator: Simulator, receiver: Receiver
) -> None:
    paid = pay(client, key="with-events")
    refunded = refund(client, paid, amount=1000)
    simulator.control(f"refunds/{refunded.id}/fail")
    dispute = simulator.control(f"charges/{paid.latest_charge}/dispute")
    simulator.control(f"charges/{paid.latest_charge}/dispute/close")
    waiting = pay(client, "pm_card_authenticationRequired")
    simulator.control(f"payment_intents/{waiting.id}/authenticate", outcome="process")
    simulator.control(f"payment_intents/{waiting.id}/authenticate", outcome="fail")
    client.v1.payment_intents.cancel(waiting.id)
    expected = {
        paid.id: ["payment_intent.succeeded"],
        paid.latest_charge: ["charge.refunded"],
        refunded.id: ["refund.created", "refund.failed", "refund.updated"],
        dispute["id"]: [
            "charge.dispute.closed",
            "charge.dispute.created",
            "charge.dispute.funds_withdrawn",
        ],
        waiting.id: [
            "payment_intent.canceled",
            "payment_intent.payment_failed",
            "payment_intent.processing",
            "payment_intent.requires_action",
        ],
    }
    wait_for(
        lambda: {object_id: receiver.types(object_id) for object_id in expected} == expected,
        5,
        lambda: str({object_id: receiver.types(object_id) for object_id in expected}),
    )
    (event,) = [event for event in receiver.events if event.data.object["id"] == paid.id]
    assert (event.object, event.livemode, event.request.idempotency_key) == ("event", False, "with-events")
    assert client.v1.events.retrieve(event.id).pending_webhooks == 0
    simulator.control(f"events/{event.id}/resend")
    wait_for(lambda: len(receiver.types(paid.id)) == 2, 5, "it was not sent again")


def test_events_are_retried_until_the_receiver_accepts_them(
    client: stripe.StripeClient, receiver: Receiver
) -> None:
    receiver.refuse = True
    before = receiver.refused
    intent = pay(client)
    wait_for(lambda: receiver.refused >= before + 2, 5, "it was not tried again")
    (event,) = client.v1.events.list({"type": "payment_intent.succeeded", "limit": 1}).data
    assert event.pending_webhooks == 1
    receiver.refuse = False
    wait_for(lambda: receiver.types(intent.id), 10, "no webhook came")
    assert receiver.types(intent.id) == ["payment_intent.succeeded"]


def test_events_survive_a_kill_while_the_receiver_is_unavailable(start: Start) -> None:
    port = free_port()
    simulator = start(port)
    intent = pay(sdk(simulator))
    assert simulator.state()["counts"]["undelivered_webhooks"] == 1
    simulator.kill()
    receiver = Receiver(port)
    try:
        simulator.start()
        wait_for(lambda: receiver.types(intent.id), 5, "no webhook came")
        wait_for(lambda: simulator.state()["counts"]["undelivered_webhooks"] == 0, 5, "it is still kept")
    finally:
        receiver.close()

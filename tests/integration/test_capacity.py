"""The capacity plan's document sizes match stored documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bson
import pytest

from app import create_app
from app.models import Transaction, database
from devtools import capacity
from devtools.index_sizes import TYPICAL_PAYMENT, index_bytes

if TYPE_CHECKING:
    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

PAYMENT = {
    "user_id": TYPICAL_PAYMENT["user_id"],
    "booking_id": TYPICAL_PAYMENT["booking_id"],
    "amount": 25.5,
    "payment_method": "credit_card",
    "user_name": "Jane Doe",
    "locale": "en-US",
    **TYPICAL_PAYMENT["contact"],
}


def test_a_stored_payment_has_the_planned_size(
    stored_settings: Settings, stripe_simulator: StripeSimulator
) -> None:
    app = create_app(stored_settings.model_copy(update=stripe_simulator.settings))
    headers = {"Idempotency-Key": "b5a1c1f2-2f0e-4f4f-9d5e-0c8c5c1f7a10"}
    assert app.test_client().post("/payment/process", json=PAYMENT, headers=headers).status_code == 200
    app.extensions["movieapp"].relay.close()
    payment = database()["transaction_logs"].find_one()
    key = database()["idempotency_keys"].find_one()
    assert payment
    assert key
    payment |= {"outbox": []}  # published
    payment.pop("outbox_since", None)
    assert len(bson.encode(payment)) == pytest.approx(capacity.PAYMENT_BYTES, rel=0.1)
    assert len(bson.encode(key)) == pytest.approx(capacity.KEY_BYTES, rel=0.1)
    indexed = sum(index_bytes(Transaction, payment).values())
    assert indexed == pytest.approx(capacity.PAYMENT_INDEX_BYTES, rel=0.1)

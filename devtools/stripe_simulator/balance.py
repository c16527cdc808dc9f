"""The balance: https://docs.stripe.com/api/balance"""

from __future__ import annotations

from devtools.stripe_simulator.call import Call
from devtools.stripe_simulator.params import Params
from devtools.stripe_simulator.store import Record


def retrieve(call: Call, _params: Params) -> Record:
    """Return what was paid and not refunded, by currency. Stripe's fees are not simulated."""
    rows = call.store.execute(
        "SELECT json_extract(body, '$.currency'),"
        " sum(json_extract(body, '$.amount_captured') - json_extract(body, '$.amount_refunded'))"
        " FROM objects WHERE object = 'charge' GROUP BY 1"
    )
    return {
        "object": "balance",
        "available": [{"amount": amount, "currency": currency} for currency, amount in rows],
        "livemode": False,
        "pending": [],
    }

"""The page of the bank or of PayPal, where the customer approves or cancels."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit, urlunsplit

from flask import Blueprint, redirect, render_template_string, request
from flask.typing import ResponseReturnValue

from devtools.stripe_simulator import currencies
from devtools.stripe_simulator.paying import PAGE, authenticate
from devtools.stripe_simulator.simulator import Simulator
from devtools.stripe_simulator.store import Record

_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Confirm your payment</title>
<style>
:root { color-scheme: light dark; }
body { font: 1.125rem/1.5 system-ui, sans-serif; max-width: 28rem; margin: 4rem auto; padding: 0 1rem; }
button { font: inherit; min-height: 2.75rem; padding: 0 1.5rem; margin: 0 .5rem .5rem 0; }
</style>
</head>
<body>
<main>
<h1>Confirm your payment</h1>
{% if waits %}
<p>This page stands for your bank's or PayPal's. Nothing is charged.</p>
<p>Amount: <strong>{{ amount }}</strong></p>
<form method="post">
<button name="outcome" value="succeed">Approve</button>
<button name="outcome" value="fail">Cancel</button>
</form>
{% else %}
<p role="status">The payment of {{ amount }} is {{ status }}. You can close this page.</p>
{% endif %}
</main>
</body>
</html>
"""


def blueprint(sim: Simulator) -> Blueprint:
    """Return the page's routes for one simulator."""
    routes = Blueprint("pages", __name__)

    @routes.get(f"{PAGE}<intent_id>")
    def show(intent_id: str) -> ResponseReturnValue:
        with sim.call(request.host_url) as call:
            return _render(call.get("payment_intent", intent_id))

    @routes.post(f"{PAGE}<intent_id>")
    def decide(intent_id: str) -> ResponseReturnValue:
        outcome = "succeed" if request.form.get("outcome") == "succeed" else "fail"
        with sim.call(request.host_url) as call:
            intent = call.get("payment_intent", intent_id)
            if intent["status"] != "requires_action":
                return _render(intent)
            back = (intent["next_action"].get("redirect_to_url") or {}).get("return_url")
            intent = authenticate(call, intent_id, outcome)
        return redirect(_with_result(back, intent), 303) if back else _render(intent)

    return routes


def _render(intent: Record) -> str:
    return render_template_string(
        _HTML,
        amount=currencies.shown(intent["amount"], intent["currency"]),
        status=intent["status"].replace("_", " "),
        waits=intent["status"] == "requires_action",
    )


def _with_result(return_url: str, intent: Record) -> str:
    """Return `return_url` with Stripe's parameters:
    https://docs.stripe.com/payments/paypal/accept-a-payment"""
    result = {
        "payment_intent": intent["id"],
        "payment_intent_client_secret": intent["client_secret"],
        "redirect_status": "succeeded" if intent["status"] == "succeeded" else "failed",
    }
    parts = urlsplit(return_url)
    return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, urlencode(result)]))))

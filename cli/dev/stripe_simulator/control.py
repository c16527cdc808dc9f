"""`/_simulator`: what tests and the customer's browser do; the real Stripe has none of it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, redirect, render_template_string, request
from flask.typing import ResponseReturnValue

from cli.dev.stripe_simulator import intents, refunds
from cli.dev.stripe_simulator.faults import Faults
from cli.dev.stripe_simulator.simulator import Simulator

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Confirm your payment</title>
<style>body{font:18px/1.5 system-ui;max-width:28rem;margin:4rem auto;padding:0 1rem}
button{font:inherit;min-height:44px;padding:0 1.5rem;margin-right:.5rem}</style></head>
<body><h1>Confirm your payment</h1>
<p>This stands for your bank's or PayPal's page. Amount: <strong>{{ amount }}</strong>
 (in the smallest unit of {{ currency }}).</p>
<form method="post"><button name="outcome" value="succeed">Confirm</button>
<button name="outcome" value="fail">Refuse</button></form></body></html>"""


def blueprint(sim: Simulator, faults: Faults) -> Blueprint:
    """The routes, for one simulator."""
    routes = Blueprint("control", __name__, url_prefix="/_simulator")

    @routes.get("/health")
    def health() -> ResponseReturnValue:
        return {"status": "ok"}

    @routes.get("/state")
    def state() -> ResponseReturnValue:
        return {f"{kind}s": sim.store.all(kind) for kind in ("payment_intent", "charge", "refund")}

    @routes.post("/faults")
    def add_fault() -> ResponseReturnValue:
        faults.add(request.get_json())
        return {"status": "ok"}

    @routes.delete("/faults")
    def clear_faults() -> ResponseReturnValue:
        faults.clear()
        return {"status": "ok"}

    @routes.post("/clock")
    def clock() -> ResponseReturnValue:
        sim.advanced += int(request.get_json()["advance_seconds"])
        return {"now": sim.now()}

    @routes.post("/refunds/<refund_id>/fail")
    def fail_refund(refund_id: str) -> ResponseReturnValue:
        with sim.transaction():
            return refunds.fail(sim, refund_id)

    @routes.post("/payment_intents/<intent_id>/authenticate")
    def authenticate(intent_id: str) -> ResponseReturnValue:
        with sim.transaction():
            return intents.authenticate(sim, intent_id, succeeds=request.get_json()["outcome"] == "succeed")

    @routes.get("/authenticate/<intent_id>")
    def page(intent_id: str) -> ResponseReturnValue:
        intent = intents.retrieve(sim, intent_id, {})
        return render_template_string(_PAGE, amount=intent["amount"], currency=intent["currency"].upper())

    @routes.post("/authenticate/<intent_id>")
    def answer(intent_id: str) -> ResponseReturnValue:
        target: str = intents.retrieve(sim, intent_id, {})["next_action"]["redirect_to_url"]["return_url"]
        succeeds = request.form.get("outcome") == "succeed"
        with sim.transaction():
            intent: dict[str, Any] = intents.authenticate(sim, intent_id, succeeds=succeeds)
        query = {
            "payment_intent": intent_id,
            "payment_intent_client_secret": intent["client_secret"],
            "redirect_status": "succeeded" if succeeds else "failed",
        }
        return redirect(f"{target}{'&' if '?' in target else '?'}{urlencode(query)}")

    return routes

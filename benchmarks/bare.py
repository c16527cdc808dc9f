"""The floor: a Flask route that answers, under the same gunicorn."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

app = Flask(__name__)


@app.post("/payment/process")
def process() -> Response:
    """Take a payment's JSON and answer with JSON."""
    return jsonify({"status": "success", "booking_id": request.get_json()["booking_id"]})

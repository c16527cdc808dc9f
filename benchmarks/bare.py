"""The baseline: a Flask route that only responds, under the same gunicorn."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

app = Flask(__name__)


@app.post("/payment/process")
def process() -> Response:
    """Read a payment's JSON and respond with JSON."""
    return jsonify({"status": "success", "booking_id": request.get_json()["booking_id"]})

"""GET /health: liveness. Checks no other server."""

from __future__ import annotations

from flask import Response, jsonify

from app.api.requests import JSONBlueprint
from app.api.schemas import Health
from app.clock import iso, utcnow

blueprint = JSONBlueprint("health", __name__, description="Whether the process is running")


@blueprint.route("/health")
@blueprint.response(200, Health)
def health() -> Response:
    """Report that the process is running."""
    return jsonify({"status": "healthy", "service": "payment-service", "timestamp": iso(utcnow())})

"""GET /health/ready: whether payments can be taken safely, and which dependencies fail."""

from __future__ import annotations

import threading
import time

from flask import Response, current_app, jsonify

from app.api.requests import JSONBlueprint
from app.api.schemas import Readiness
from app.operations.health import Finding, Level, pick, run_probes
from app.services import services
from app.settings import Settings

blueprint = JSONBlueprint("readiness", __name__, description="Whether the API can take payments safely")

#: Seconds for each call to a server: orchestrators wait only a few for the whole response.
_TIMEOUT_SECONDS = 0.5

#: Seconds for which a result is reused. Anyone may call this endpoint often, but each process checks the
#: servers only once in this time.
_REUSE_SECONDS = 1.0

_SHOWN = pick("mongodb", "redis", "broker", "gateway", "outbox")

#: No payment is safe without these. Without the others, its events wait in the outbox.
_NEEDED = frozenset({"mongodb", "gateway"})


class _Cache:
    """Cache of the newest findings. One thread refreshes it while the others return the cached ones."""

    def __init__(self) -> None:
        self._renewing = threading.Lock()
        self._expires_at = float("-inf")
        self._findings: list[Finding] | None = None

    def findings(self, settings: Settings) -> list[Finding]:
        """Return findings that are at most `_REUSE_SECONDS` and one round of probes old."""
        if self._findings is not None and time.monotonic() < self._expires_at:
            return self._findings
        # Only the first callers of a process wait for a running check, because there is no result to reuse
        # yet.
        if self._renewing.acquire(blocking=self._findings is None):
            try:
                if time.monotonic() >= self._expires_at:
                    self._findings = run_probes(_SHOWN, settings, _TIMEOUT_SECONDS)
                    self._expires_at = time.monotonic() + _REUSE_SECONDS
            finally:
                self._renewing.release()
        return self._findings or []


@blueprint.route("/health/ready")
@blueprint.response(200, Readiness)
@blueprint.alt_response(503, schema=Readiness)
@blueprint.errors(429)
def ready() -> tuple[Response, int]:
    """Report whether the API can take payments safely.

    Payments work without Redis and the message broker: events wait in the outbox.
    """
    cache: _Cache = current_app.extensions.setdefault("readiness", _Cache())
    findings = cache.findings(services().settings)
    safe = not any(each.level is Level.BAD and each.check in _NEEDED for each in findings)
    checks = {each.check: {"ok": each.level is not Level.BAD, "detail": each.what} for each in findings}
    body = {"status": "ready" if safe else "not ready", "checks": checks}
    return jsonify(body), 200 if safe else 503

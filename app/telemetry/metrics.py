"""The Prometheus metrics of all processes. docs/metrics.md explains each.

Every label has a fixed set of values. Unknown values count as `other`, so that input can't increase the
number of series.
"""

from __future__ import annotations

import os
from collections.abc import Container

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

from app.telemetry.multiprocess import DIRECTORY

#: Registry of a single process.
_REGISTRY = CollectorRegistry()

_SHORT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_CALL_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
#: From an immediate payment to one that waited for its customer.
_WAIT_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
#: From an immediate delivery to one after a night with a broken mail server.
_AGE_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 43_200)


def _counter(name: str, about: str, *labels: str) -> Counter:
    return Counter(f"movieapp_{name}", about, labels, registry=_REGISTRY)


def _histogram(name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"movieapp_{name}", about, labels, buckets=buckets, registry=_REGISTRY)


def _living(name: str, about: str, *labels: str) -> Gauge:
    """Return a gauge that is summed over the live processes."""
    return Gauge(f"movieapp_{name}", about, labels, registry=_REGISTRY, multiprocess_mode="livesum")


# HTTP
HTTP = _histogram(
    "http_request_seconds", "HTTP requests, by route and response", _CALL_SECONDS, "route", "method", "status"
)
RATE_LIMITED = _counter("rate_limited", "HTTP requests refused with 429")
REPLAYS = _counter("idempotent_replays", "Responses replayed for an Idempotency-Key")

# Payments
PAYMENTS = _counter("payments", "Payments that reached a status", "outcome", "method", "error_code")
PAYMENT_SECONDS = _histogram(
    "payment_seconds",
    "Time from request to outcome, excluding payments that a customer confirms",
    _WAIT_SECONDS,
    "outcome",
)
REVENUE = _counter("revenue", "Sum of completed payments, in major units", "currency")
DISPUTES = _counter("disputes", "Disputes that were opened or changed, by their new status", "status")
FRAUD_WARNINGS = _counter("fraud_warnings", "Payments for which a card network warned of fraud")
STRAY_CHARGES = _counter("stray_charges", "Charges that the gateway made although the payment had failed")
FOREIGN_FACTS = _counter(
    "foreign_facts",
    "Payments and refunds at the gateway ignored because they do not match the record",
    "field",
)
REFUNDS = _counter("refunds", "Refunds with a final outcome", "outcome")
REFUNDED = _counter("refunded", "Sum of completed refunds, in major units", "currency")
ATTEMPTS_REFUSED = _counter("attempts_refused", "Payments refused with 429 TOO_MANY_ATTEMPTS")
LOCKOUTS = _counter("lockouts", "Lockouts after too many declined payments", "kind")

# Gateway
GATEWAY = _histogram(
    "gateway_seconds", "Each attempt at a gateway call", _CALL_SECONDS, "operation", "outcome"
)
GATEWAY_IN_FLIGHT = _living("gateway_calls_in_flight", "Gateway calls that are waiting for a response")
WEBHOOKS = _counter("webhooks", "Webhook deliveries", "type", "result")
WEBHOOK_LAG = _histogram(
    "webhook_lag_seconds", "Time from an event at the gateway until its webhook arrives", _AGE_SECONDS
)

# Notifications
DELIVERIES = _counter(
    "deliveries", "Attempts to send emails and SMS, by outcome", "channel", "template", "outcome"
)
SUPPRESSIONS = _counter(
    "suppressions", "Recipients reported for suppression, by result", "channel", "reason", "result"
)
SMS_CALLBACKS = _counter("sms_callbacks", "Callbacks from the SMS provider", "kind", "result")
BOUNCES = _counter("bounces", "Returned emails, by source and outcome", "door", "outcome", "kind")
EVENT_AGE = _histogram(
    "event_age_seconds", "Age of an event when its email or SMS was sent", _AGE_SECONDS, "channel"
)
REMINDERS = _counter("reminders", "Reminders that became due, by outcome", "outcome")
RENDER = _histogram("render_seconds", "Duration of rendering an email", _SHORT_SECONDS, "template")
MESSAGES = _histogram(
    "message_seconds", "Messages that a worker processed", _CALL_SECONDS, "queue", "outcome"
)
IN_PROGRESS = _living("messages_in_progress", "Messages that workers are currently processing", "queue")

# Mail server
SMTP = _histogram("smtp_seconds", "SMTP steps that succeeded", _CALL_SECONDS, "phase")
SMTP_FAILURES = _counter("smtp_failures", "SMTP steps that failed", "phase", "reply")
SMTP_CONNECTIONS = _living("smtp_connections", "Open connections to the mail server")
SMTP_CIRCUIT = _living(
    "smtp_circuit_open", "Processes that hold emails because the mail server is failing", "relay"
)
SMS_CIRCUIT = _living("sms_circuit_open", "Processes that hold SMS because the provider is failing")
SMTP_CERTIFICATE = Gauge(
    "movieapp_smtp_certificate_expiry_timestamp_seconds",
    "Time at which the mail server's certificate expires",
    registry=_REGISTRY,
    multiprocess_mode="mostrecent",
)


def registry() -> CollectorRegistry:
    """Return a registry with the metrics of all processes of this service."""
    merged = CollectorRegistry()
    if os.environ.get(DIRECTORY):
        MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
    else:
        merged.register(_REGISTRY)
    return merged


def known(value: str | None, values: Container[str]) -> str:
    """Return a label value: `value` if it is one of `values`, `other` if not, empty if there is none."""
    if not value:
        return ""
    return value if value in values else "other"

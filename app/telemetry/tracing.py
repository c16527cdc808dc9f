"""OpenTelemetry spans, if OTEL_EXPORTER_OTLP_ENDPOINT is set; otherwise every function here does nothing.

The code creates spans itself. OpenTelemetry's instrumentation packages support neither the outbox nor plain
JSON on a Dramatiq queue, so traces would end there. They also put addresses, URLs, and exception texts into
spans. These spans contain ids, but no personal data.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from app.settings import Settings
    from app.telemetry.logs import Service
    from app.telemetry.otel import OpenTelemetry

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | bool | float]

#: Name of the header, message option, and field that carry the trace context:
#: https://www.w3.org/TR/trace-context/
TRACEPARENT = "traceparent"

_NO_SPAN = nullcontext()

_backend: OpenTelemetry | None = None


def configure(service: Service, settings: Settings) -> None:
    """Start tracing in this process, if the settings name an endpoint.

    Safe before a fork: threads and connections start with the first span.

    Args:
        service: `service.name` of the spans.
        settings: `otel_exporter_otlp_endpoint` enables tracing.
    """
    global _backend
    _backend = None
    if settings.otel_exporter_otlp_endpoint:
        # Imported only here, so that the packages are needed only for tracing.
        from app.telemetry.otel import OpenTelemetry

        _backend = OpenTelemetry(
            service,
            settings.otel_exporter_otlp_endpoint,
            settings.otel_exporter_otlp_headers.get_secret_value(),
        )


def enabled() -> bool:
    """Return whether spans are exported."""
    return _backend is not None


def span(
    name: str,
    attributes: Attributes | None = None,
    *,
    kind: Kind = "internal",
    parent: object = None,
) -> AbstractContextManager[None]:
    """Run the block in a span. An exception that leaves the block marks the span as failed.

    Args:
        name: span name, one of a few: without ids.
        attributes: ids and codes; no personal data.
        kind: OpenTelemetry span kind.
        parent: an untrusted traceparent; an invalid one starts a new trace. None for the current span.
    """
    return _backend.span(name, attributes, kind, parent) if _backend else _NO_SPAN


def annotate(attributes: Attributes) -> None:
    """Add attributes to the current span."""
    if _backend:
        _backend.annotate(attributes)


def failed(reason: str) -> None:
    """Mark the current span as failed.

    Args:
        reason: one of a few, such as a status code or an exception's name.
    """
    if _backend:
        _backend.failed(reason)


def traceparent() -> str | None:
    """Return the current span as a `traceparent` header, or None outside of a span."""
    return _backend.traceparent() if _backend else None


def valid(value: object) -> str | None:
    """Return `value` if it is a valid traceparent and tracing is on, else None."""
    return _backend.valid(value) if _backend else None


def trace_id() -> str | None:
    """Return the id of the current trace, 32 hexadecimal digits, or None outside of a trace."""
    return _backend.trace_id() if _backend else None


def shutdown() -> None:
    """Export the remaining spans, for a few seconds at most."""
    if _backend:
        _backend.shutdown()

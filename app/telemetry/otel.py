"""The OpenTelemetry backend of `app.telemetry.tracing`. Needs the extra `movieapp[tracing]`.

The SDK itself reads other variables from the environment (OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES,
OTEL_BSP_…, OTEL_EXPORTER_OTLP_CERTIFICATE, …).
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.re import parse_env_headers

from app.telemetry import tracing
from app.telemetry.redact import redact

if TYPE_CHECKING:
    from opentelemetry.context import Context

_KINDS: dict[tracing.Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}

#: Path for traces below the OTLP/HTTP endpoint.
_PATH = "/v1/traces"

#: Maximum characters of a traceparent. The current version has 55; of a later version, only the known part is
#: read.
_MAX_TRACEPARENT_LENGTH = 128

#: Seconds for exporting a batch, including retries, and for the last batch at shutdown.
_EXPORT_TIMEOUT_SECONDS = 3.0


class OpenTelemetry:
    """Creates and exports spans. The SDK starts with the first span: after gunicorn's and Dramatiq's forks.

    Args:
        service: `service.name`.
        endpoint: OTLP/HTTP endpoint without a signal's path.
        headers: `name=value,…`, for a receiver that needs a key.
    """

    def __init__(self, service: str, endpoint: str, headers: str) -> None:
        self._resource = Resource.create({"service.name": service})
        self._exporter = OTLPSpanExporter(
            endpoint=endpoint.rstrip("/") + _PATH,
            headers=parse_env_headers(headers, liberal=True) or None,
            timeout=_EXPORT_TIMEOUT_SECONDS,
        )
        self._propagator = TraceContextTextMapPropagator()
        self._lock = threading.Lock()
        self._processor: BatchSpanProcessor | None = None
        self._tracer: Tracer | None = None

    @contextmanager
    def span(
        self, name: str, attributes: tracing.Attributes | None, kind: tracing.Kind, parent: object
    ) -> Iterator[None]:
        """See `tracing.span`."""
        # Only the type of an exception is recorded, because its text may contain personal data.
        with self._get_tracer().start_as_current_span(
            name,
            context=None if parent is None else self._context(parent),
            kind=_KINDS[kind],
            attributes=redact(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ):
            try:
                yield
            except Exception as error:
                self.failed(type(error.__cause__ or error).__qualname__)
                raise

    def annotate(self, attributes: tracing.Attributes) -> None:
        """See `tracing.annotate`."""
        trace.get_current_span().set_attributes(redact(attributes))

    def failed(self, reason: str) -> None:
        """See `tracing.failed`."""
        span = trace.get_current_span()
        span.set_attribute("error.type", redact(reason))
        span.set_status(StatusCode.ERROR)

    def traceparent(self) -> str | None:
        """See `tracing.traceparent`."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get(tracing.TRACEPARENT)

    def valid(self, value: object) -> str | None:
        """See `tracing.valid`."""
        span = trace.get_current_span(self._context(value))
        return str(value) if span.get_span_context().is_valid else None

    def trace_id(self) -> str | None:
        """See `tracing.trace_id`."""
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else None

    def shutdown(self) -> None:
        """See `tracing.shutdown`."""
        with self._lock:
            processor, self._processor = self._processor, None
        if processor:
            processor.shutdown()  # type: ignore[no-untyped-call]

    def _context(self, traceparent: object) -> Context:
        sane = isinstance(traceparent, str) and len(traceparent) <= _MAX_TRACEPARENT_LENGTH
        return self._propagator.extract({tracing.TRACEPARENT: traceparent} if sane else {})

    def _get_tracer(self) -> Tracer:
        if self._tracer is None:
            with self._lock:
                if self._tracer is None:
                    self._tracer = self._make_tracer()
        return self._tracer

    def _make_tracer(self) -> Tracer:
        provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        self._processor = BatchSpanProcessor(self._exporter)
        provider.add_span_processor(self._processor)
        atexit.register(self.shutdown)
        return provider.get_tracer("movieapp")

"""A collector of traces, as small as can be: takes OTLP over HTTP, keeps the spans, and fails or hangs when told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

Value = str | int | float | bool


class Span(NamedTuple):
    """A span as it came over the wire; ids in hexadecimal, times in ns."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    started: int
    ended: int
    failed: str
    attributes: dict[str, Value]


class Collector:
    """What was collected.

    Attributes:
        status: what each export is answered.
        hanging: exports are not answered while it is clear.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.exports = 0
        self.status = 200
        self.hanging = threading.Event()
        self.hanging.set()
        self.url = ""

    def take(self, body: bytes) -> None:
        """Keep what an export holds."""
        self.exports += 1
        for each in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {attribute.key: attribute.value.string_value for attribute in each.resource.attributes}
            for scope in each.scope_spans:
                self.spans += [_span(resource["service.name"], span) for span in scope.spans]

    def of(self, trace_id: str) -> list[Span]:
        """The spans of a trace, from the first to begin."""
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.started)


def _span(service: str, span: trace_pb2.Span) -> Span:
    failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    return Span(
        service,
        span.name,
        trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.message if failed else "",
        {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in span.attributes},
    )


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector that listens, for the length of the block."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 (the library's name)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.hanging.wait()
            if self.path == "/v1/traces" and collector.status == 200:
                collector.take(body)
            self.send_response(collector.status if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Not to the output of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        collector.hanging.set()
        server.shutdown()
        thread.join()
        server.server_close()

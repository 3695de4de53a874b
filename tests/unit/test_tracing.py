"""Traces are off without an endpoint, and then nothing of OpenTelemetry is there; what cannot be is said at start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from shared.contract.errors import ConfigurationError
from shared.service.settings import Settings
from shared.telemetry.traceparent import exemplar_of, is_sampled, parse_traceparent, trace_id_of
from shared.telemetry.tracing import start_tracing

ROOT = Path(__file__).resolve().parents[2]
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_off_by_default() -> None:
    assert start_tracing(Settings(), "gateway") is None


def test_where_traces_are_off_nothing_that_makes_or_sends_them_is_imported() -> None:
    # redis-py imports OpenTelemetry's metrics by itself where they are installed, and does nothing with them
    code = (
        "import sys, gateway.__main__, inference_worker.__main__, persister.__main__;"
        "traces = ('shared.telemetry.spans', 'opentelemetry.sdk.trace', 'opentelemetry.exporter');"
        "traces += ('google', 'requests');"
        "print([name for name in sys.modules if name.startswith(traces)])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_the_extra_the_start_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shared.telemetry.spans", None)  # its import fails, as without OpenTelemetry
    with pytest.raises(ConfigurationError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT is set.*'\.\[otel\]'.*unset"):
        start_tracing(Settings(otel_exporter_otlp_endpoint="http://localhost:4318"), "gateway")


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True), ("fe", False)]
)
def test_the_lowest_flag_says_whether_a_trace_is_kept(flags: str, sampled: bool) -> None:
    traceparent = f"00-{TRACE_ID}-{SPAN_ID}-{flags}"
    assert is_sampled(traceparent) is sampled
    assert exemplar_of(traceparent) == ({"trace_id": TRACE_ID} if sampled else None)
    assert parse_traceparent(traceparent) == (int(TRACE_ID, 16), int(SPAN_ID, 16), int(flags, 16))


@pytest.mark.parametrize(
    "traceparent",
    ["", "01", "a-b-c-01", f"00-{TRACE_ID}-{SPAN_ID}-", f"00-{TRACE_ID}-{SPAN_ID}-01\n", f"00-{'g' * 32}-{SPAN_ID}-01"]
    + [f"00-{'0' * 32}-{SPAN_ID}-01", f"00-{TRACE_ID}-{'0' * 16}-01", f"{TRACE_ID}-two-three-four"],
)
def test_what_is_no_traceparent_is_no_trace(traceparent: str) -> None:
    assert parse_traceparent(traceparent) is None
    assert not is_sampled(traceparent)
    assert exemplar_of(traceparent) is None
    assert trace_id_of(traceparent) == ""


def test_the_headers_that_the_collector_wants_are_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spans = pytest.importorskip("shared.telemetry.spans")
    (tmp_path / "headers").write_text("authorization=Bearer%20hunter2,x-team=ml\n", encoding="utf-8")
    exporter = Mock()
    monkeypatch.setattr(spans, "OTLPSpanExporter", exporter)
    given: dict[str, Any] = {
        "otel_exporter_otlp_endpoint": "http://collector:4318",
        "otel_exporter_otlp_headers_file": tmp_path / "headers",
    }
    spans.Traces("gateway", Settings(**given))
    headers = {"authorization": "Bearer hunter2", "x-team": "ml"}
    exporter.assert_called_once_with("http://collector:4318/v1/traces", headers=headers)

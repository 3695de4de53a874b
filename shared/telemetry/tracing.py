"""Traces for those that want them: OpenTelemetry spans, sent to a collector; off unless an endpoint is set.

Where they are off nothing of OpenTelemetry is imported, and a service holds None in the place of its `Traces`: looking
at that is all that its hot paths do. What of a trace is carried from service to service is W3C's `traceparent`,
`00-{trace id}-{span id}-{flags}`, in the fields of the streams.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from shared.contract.errors import ConfigurationError
from shared.service.settings import Settings

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces

_FORM = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_ODD = tuple("13579bdf")


def start_tracing(settings: Settings, service: str) -> Traces | None:
    """What makes the spans of a service; None where traces are off.

    Raises:
        ConfigurationError: they are on, and OpenTelemetry is not installed.
    """
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    try:
        from shared.telemetry.spans import Traces
    except ImportError as error:
        raise ConfigurationError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and the extra `otel` is not installed ({error}); install it: "
            "python -m pip install --constraint scripts/constraints.txt '.[otel]', or unset the variable"
        ) from error
    return Traces(service, settings)


def parse_traceparent(traceparent: str) -> tuple[int, int, int] | None:
    """Trace id, span id and flags; None where it is none."""
    found = _FORM.fullmatch(traceparent)
    return None if found is None else (int(found[1], 16), int(found[2], 16), int(found[3], 16))


def is_sampled(traceparent: str) -> bool:
    """Whether the spans of this trace are kept."""
    return traceparent.endswith(_ODD) and _FORM.fullmatch(traceparent) is not None  # its last bit is the flag


def exemplar_of(traceparent: str) -> dict[str, str] | None:
    """What leads from a histogram's bucket to a trace; None where that trace is not kept."""
    return {"trace_id": traceparent[3:35]} if is_sampled(traceparent) else None

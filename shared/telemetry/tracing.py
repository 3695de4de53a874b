"""Turning traces on: OpenTelemetry spans, sent to a collector; off unless an endpoint is set.

If they are off, nothing of OpenTelemetry is imported, and a service holds None in the place of its `Traces`: looking at
that is all that its hot paths do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.contract.errors import ConfigurationError
from shared.service.settings import Settings

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces


def start_tracing(settings: Settings, service: str) -> Traces | None:
    """What makes the spans of a service; None if traces are off.

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

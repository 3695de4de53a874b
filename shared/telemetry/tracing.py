"""Turning traces on: OpenTelemetry spans, sent to a collector; off unless an endpoint is set.

If they are off, OpenTelemetry is not imported and a service has None instead of its `Traces`: checking for that is all
that traces cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.contract.errors import ConfigurationError
from shared.service.settings import Settings

if TYPE_CHECKING:
    from shared.telemetry.spans import Traces


def start_tracing(settings: Settings, service: str) -> Traces | None:
    """The `Traces` of a service; None if traces are off.

    Raises:
        ConfigurationError: they are on, but OpenTelemetry is not installed.
    """
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    try:
        from shared.telemetry.spans import Traces
    except ImportError as error:
        raise ConfigurationError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but the extra `otel` is not installed ({error}); install it: "
            "python -m pip install --constraint scripts/constraints.txt '.[otel]', or unset the variable"
        ) from error
    return Traces(service, settings)

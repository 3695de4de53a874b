"""The panel of requests, which more than one dashboard shows."""

from __future__ import annotations

from monitoring.dashboards.expressions import API, idle_is_none, rate
from monitoring.dashboards.panels import Json, stat

HTTP = "millstream_http_requests_total"


def requests() -> Json:
    """How many requests are answered."""
    return stat(
        "Requests",
        idle_is_none(f"sum({rate(HTTP, API)})", "gateway"),
        "reqps",
        "API requests answered per second, all gateways.",
        decimals=1,
    )

"""What the numbers of the dashboards say where nothing is: asked of a real Prometheus, coloured as Grafana does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from scripts.stack import prometheus
from tests.hpa.prometheus import PrometheusProcess, running_prometheus
from tests.processes import wait_until
from tests.unit.test_monitoring_expressions import DASHBOARDS, panels, plain

pytestmark = pytest.mark.skipif(
    prometheus.program() is None, reason="no Prometheus is installed (Debian: apt install prometheus)"
)
STATS = {
    f"{path.stem}: {panel['title']}": panel for path in DASHBOARDS for panel in panels(path) if panel["type"] == "stat"
}
# What a service says of itself needs no Redis and no traffic; the rest is what the gateways are told by Redis.
OF_IDLE_SERVICES = {
    *("overview: Alerts firing", "overview: Services down", "overview: Requests", "overview: Error ratio"),
    *("callers: Requests", "callers: Not known who asks", "callers: Not allowed", "callers: Held back"),
    "callers: Answered by the cache",
    *("overview: Predict latency, p95", "persistence: Lag, p95", "persistence: Rows", "persistence: Persisters up"),
}


def colour(panel: dict[str, Any], expression: str, server: PrometheusProcess) -> str:
    """The colour of a number, by its last value."""
    defaults = panel["fieldConfig"]["defaults"]
    (value,) = [value for _, value in server.query(plain(expression))] or [math.nan]
    if math.isnan(value):
        mapped = [each["options"]["result"]["color"] for each in defaults.get("mappings", [])]
        return str(mapped[0]) if mapped else str(defaults["thresholds"]["steps"][0]["color"])
    steps = defaults["thresholds"]["steps"]
    return str([each["color"] for each in steps if each["value"] is None or value >= each["value"]][-1])


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusProcess]:
    """A Prometheus that scrapes nobody."""
    with running_prometheus(tmp_path_factory.mktemp("nothing"), []) as server:
        yield server


class _Silent(BaseHTTPRequestHandler):
    """Metrics of a service that has done nothing yet: none."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged."""


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusProcess]:
    """A Prometheus that scrapes a gateway and a persister without a request."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Silent) as service:
        Thread(target=service.serve_forever, daemon=True).start()
        port = service.server_address[1]
        targets = [(port, {"job": job}) for job in ("gateway", "persister")]
        with running_prometheus(tmp_path_factory.mktemp("idle"), targets) as server:
            wait_until(lambda: server.query("sum(up)") == [({}, 2.0)], "both are scraped")
            yield server
        service.shutdown()


@pytest.mark.parametrize("name", STATS)
def test_no_data_is_red(name: str, nothing: PrometheusProcess) -> None:
    assert colour(STATS[name], STATS[name]["targets"][0]["expr"], nothing) == "red"


@pytest.mark.parametrize("name", STATS)
def test_idle_is_not_red_and_silence_is(name: str, idle: PrometheusProcess) -> None:
    is_red = colour(STATS[name], STATS[name]["targets"][0]["expr"], idle) == "red"
    assert is_red is (name not in OF_IDLE_SERVICES)


def test_zero_for_want_of_data_would_be_green(nothing: PrometheusProcess) -> None:
    """Known bad: what the tests above would not let pass."""
    panel = STATS["overview: Services down"]
    assert colour(panel, 'count(up{job="gateway"} == 0) or vector(0)', nothing) == "green"


def test_the_last_value_counts_and_not_the_last_that_there_was() -> None:
    assert {tuple(each["options"]["reduceOptions"]["calcs"]) for each in STATS.values()} == {("last",)}

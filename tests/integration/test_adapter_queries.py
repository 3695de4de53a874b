"""What prometheus-adapter would answer an HPA: its queries, expanded as it does, asked of a real Prometheus.

It scrapes two real gateways over a real Redis.
"""

from __future__ import annotations

import dataclasses
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from redis import Redis

from scripts.stack import prometheus
from scripts.stack.ports import free_port
from scripts.stack.redis import RedisServer, running_redis
from shared.contract.keys import Keys
from tests.conftest import FIXTURES
from tests.hpa.adapter import Rule, load_rules, rule_of
from tests.hpa.prometheus import PrometheusProcess, running_prometheus
from tests.processes import Service, wait_until
from tests.unit.test_monitoring_files import ALERTS

pytestmark = pytest.mark.skipif(
    prometheus.program() is None, reason="no Prometheus is installed (Debian: apt install prometheus)"
)
KEYS = Keys("millstream:")
NAMESPACE = "production"
PODS = ("gateway-1", "gateway-2")
DEPTHS = {"1.0.0": 7, "2.0.0": 5}
RESULTS = 3
WAITING = 2  # requests that the first gateway is made to hold


@dataclass
class Installation:
    """Two gateways, their Redis, and a Prometheus that watches them."""

    redis: RedisServer
    gateways: Sequence[Service]
    prometheus: PrometheusProcess

    def external(self, metric: str, namespace: str = NAMESPACE, **selector: str | Sequence[str]) -> list[float]:
        """What the external metrics API would answer: a value for each series; empty where it knows nothing."""
        return self.ask(rule_of(load_rules(), "external", metric), namespace, **selector)

    def ask(self, rule: Rule, namespace: str = NAMESPACE, **selector: str | Sequence[str]) -> list[float]:
        """The same by a rule of one's own."""
        values = []
        for series in sorted(self.prometheus.series(rule.discovery)):
            assert rule.names(series), f"{series} is discovered and not named"
            values += [value for _, value in self.prometheus.query(rule.external_query(series, namespace, selector))]
        return sorted(values)

    def pods(self, metric: str, pods: Sequence[str] = PODS) -> dict[str, float]:
        """What the custom metrics API would answer: a value for each pod that has one."""
        rule = rule_of(load_rules(), "custom", metric)
        (series,) = self.prometheus.series(rule.discovery)
        return {
            labels["pod"]: value for labels, value in self.prometheus.query(rule.pods_query(series, NAMESPACE, pods))
        }


def fill(redis: Redis) -> None:
    """Entries in the streams, as if nobody served them; one of them handed out: it counts all the same."""
    for version, depth in DEPTHS.items():
        for _ in range(depth - (WAITING if version == "1.0.0" else 0)):
            redis.xadd(KEYS.requests("echo", version), {"a": "b"})
    for _ in range(RESULTS):
        redis.xadd(KEYS.results, {"a": "b"})
    redis.xgroup_create(KEYS.requests("echo", "2.0.0"), KEYS.WORKER_GROUP, id="0")
    redis.xreadgroup(KEYS.WORKER_GROUP, "a worker", {KEYS.requests("echo", "2.0.0"): ">"}, count=1)


def ask_and_wait(url: str) -> threading.Thread:
    """A client whose request nobody computes."""

    def run() -> None:
        body = b'{"model":"echo","version":"1.0.0","text":"x"}'
        request = urllib.request.Request(
            f"{url}/api/v1/predict?wait=60", data=body, headers={"content-type": "application/json"}
        )
        try:
            urllib.request.urlopen(request, timeout=60).read()
        except OSError:
            pass  # its gateway was stopped

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("installation")
    ports = [free_port() for _ in PODS]
    labels = [{"namespace": NAMESPACE, "pod": pod} for pod in PODS]
    with running_redis(folder / "redis") as redis:
        environment = {
            "REDIS_URL": redis.url,
            "DATABASE_URL": f"postgresql://nobody@127.0.0.1:{free_port()}/nothing",
            "MODEL_CATALOGUE": str(FIXTURES / "models.toml"),
            "LOG_LEVEL": "ERROR",
        }
        gateways = [
            Service(
                "gateway",
                own,
                {**environment, "GATEWAY_PORT": str(own), "ADMIN_PORT": str(port)},
                folder / f"{pod}.log",
            )
            for own, port, pod in zip([free_port() for _ in PODS], ports, PODS, strict=True)
        ]
        try:
            for each in gateways:
                each.wait_ready()
            with Redis.from_url(redis.url) as client:
                fill(client)
            waiting = [ask_and_wait(gateways[0].url) for _ in range(WAITING)]
            with running_prometheus(folder / "prometheus", list(zip(ports, labels, strict=True))) as server:
                each_depth = 'count(millstream_queue_depth{stream="results"})'
                wait_until(
                    lambda: [count for _, count in server.query(each_depth)] == [len(PODS)], "both gateways are scraped"
                )
                yield Installation(redis, gateways, server)
        finally:
            for each in gateways:
                each.kill()
    for thread in waiting:
        thread.join(10)


MODEL, QUEUED = "millstream_model_queue_depth", "millstream_results_queue_depth"
IN_FLIGHT = "millstream_http_requests_in_flight"


def test_a_depth_is_counted_once_whatever_the_number_of_gateways(installation: Installation) -> None:
    one = DEPTHS["1.0.0"]
    wait_until(lambda: installation.external(MODEL, model="echo", version="1.0.0") == [one], "the depth is recorded")
    assert installation.external(MODEL, model="echo", version="2.0.0") == [DEPTHS["2.0.0"]]
    assert installation.external(QUEUED) == [RESULTS]


def test_a_selector_without_a_version_is_the_whole_model(installation: Installation) -> None:
    """An HPA adds up what it is given; the fixture's third version is not served."""
    assert sum(installation.external(MODEL, model="echo")) == sum(DEPTHS.values())
    assert sum(installation.external(MODEL, model="echo", version=["1.0.0", "2.0.0"])) == sum(DEPTHS.values())


def test_a_rule_that_sums_would_count_once_a_gateway(installation: Installation) -> None:
    """Known bad: what the test above would not let pass."""
    rule = rule_of(load_rules(), "external", QUEUED)
    bad = dataclasses.replace(rule, template=rule.template.replace("max by", "sum by"))
    assert installation.ask(bad) == [RESULTS * len(PODS)]


def test_nothing_is_answered_for_what_is_not_there(installation: Installation) -> None:
    assert installation.external(MODEL, model="no-such-model") == []
    assert installation.external(MODEL, namespace="staging", model="echo") == []
    assert installation.external(QUEUED, namespace="staging") == []


def test_each_gateway_has_its_requests_in_flight(installation: Installation) -> None:
    wait_until(lambda: installation.pods(IN_FLIGHT) == {PODS[0]: WAITING, PODS[1]: 0}, "each gateway is told apart")
    assert installation.pods(IN_FLIGHT, PODS[1:]) == {PODS[1]: 0}


def test_while_redis_is_away_there_is_no_depth(installation: Installation) -> None:
    """Not the last one known: an HPA with a missing metric does not scale in."""
    installation.redis.pause()
    try:
        wait_until(lambda: installation.external(QUEUED) == [], "the results' depth is gone")
        wait_until(lambda: installation.external(MODEL, model="echo") == [], "the model's depth is gone")
        assert set(installation.pods(IN_FLIGHT)) == set(PODS)
        assert installation.prometheus.query(ALERTS["MillstreamRedisUnseen"]["expr"]), "and there is an alert for it"
    finally:
        installation.redis.resume()
    wait_until(lambda: installation.external(MODEL, model="echo", version="2.0.0") == [5], "it is back")
    wait_until(lambda: installation.external(QUEUED) == [RESULTS], "it is back")
    assert not installation.prometheus.query(ALERTS["MillstreamRedisUnseen"]["expr"])


def test_without_one_gateway_the_depth_stays_and_without_any_it_goes(installation: Installation) -> None:
    installation.gateways[0].kill()
    wait_until(lambda: set(installation.pods(IN_FLIGHT)) == {PODS[1]}, "the first gateway is gone")
    wait_until(
        lambda: installation.external(MODEL, model="echo", version="1.0.0") == [7], "its depths are another's too"
    )
    assert installation.external(QUEUED) == [RESULTS]
    installation.gateways[1].kill()
    wait_until(lambda: installation.external(MODEL, model="echo") == [], "nobody says how deep it is")
    assert installation.external(QUEUED) == []

"""Every PromQL expression of dashboards and rules parses, and names only what is exported, with labels that it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from shared.telemetry import metrics

ROOT = Path(__file__).resolve().parents[2]
BAD = ROOT / "tests" / "fixtures" / "monitoring"
DASHBOARDS = sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))
RULES = sorted((ROOT / "monitoring" / "rules").glob("*.yml"))

SCRAPED = frozenset({"job", "instance"})  # what Prometheus adds to each series
IN_KUBERNETES = frozenset({"namespace", "pod"})  # what it adds there besides (k8s/prometheus.yaml)
LEVELS = {  # what stands before the first colon of a recorded series, and the labels that it means
    "stream": frozenset({"stream"}),
    "stream_priority": frozenset({"stream", "priority"}),
    "namespace_model_version": frozenset({"namespace", "model", "version"}),
}
OTHERS = {  # by Prometheus itself, and by every Python process
    "up": SCRAPED,
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}),
    **dict.fromkeys(
        ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"), SCRAPED
    ),
}
SUFFIXES = {"counter": ("_total",), "info": ("_info",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
VARIABLES = {"$__rate_interval": "1m", "$__range": "1h", "$__interval": "1m"}


def series_of(metric: MetricWrapperBase) -> Iterator[tuple[str, frozenset[str]]]:
    """The series of a declared metric, with their labels."""
    names = frozenset(metric._labelnames)
    for family in metric.describe():
        for suffix in SUFFIXES[family.type]:
            extra = {"le"} if suffix == "_bucket" else {"version"} if suffix == "_info" else set()
            yield f"{family.name}{suffix}", names | extra | SCRAPED


@cache
def known() -> dict[str, frozenset[str]]:
    """All series that may be asked for, with their labels."""
    declared = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    series = {name: labels for each in declared for name, labels in series_of(each)}
    for _, rule in rules(*RULES):
        if "record" in rule:  # named level:metric:operation, the level being its labels
            series[rule["record"]] = LEVELS.get(rule["record"].split(":")[0], frozenset())
    return series | OTHERS


def rules(*paths: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """All rules, with a name to show."""
    for path in paths:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                yield f"{path.stem}: {rule.get('alert') or rule['record']}", rule


def panels(path: Path) -> Iterator[dict[str, Any]]:
    """All panels of a dashboard."""
    yield from (each for each in json.loads(path.read_text(encoding="utf-8"))["panels"] if each["type"] != "row")


def expressions(*paths: Path) -> Iterator[tuple[str, str]]:
    """All expressions of dashboards and rules, with a name to show."""
    for path in paths:
        if path.suffix == ".json":
            for panel in panels(path):
                yield from ((f"{path.stem}: {panel['title']}", target["expr"]) for target in panel["targets"])
        else:
            yield from ((name, rule["expr"]) for name, rule in rules(path))


def plain(expression: str) -> str:
    """The expression with Grafana's variables filled in."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    return re.sub(r"\$(model|version)\b", "x", expression)


def labels_made(expression: str) -> set[str]:
    """The labels that an expression's own label_replace and label_join make."""
    tree = promql_parser.parse(plain(expression))
    made: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.Call) and node.func.name in ("label_replace", "label_join"):
            made.add(node.args[1].val)

    promql_parser.walk(tree, visit)
    return made


def wrong(expression: str) -> Iterator[str]:
    """What is wrong with an expression."""
    try:
        tree = promql_parser.parse(plain(expression))
    except ValueError as error:
        yield f"does not parse: {error}"
        return
    selectors: list[Any] = []
    grouped: set[str] = set()
    made = labels_made(expression)

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            selectors.append(node)
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)

    promql_parser.walk(tree, visit)
    there = made | IN_KUBERNETES
    for selector in selectors:
        labels = known().get(selector.name)
        if labels is None:
            yield f"{selector.name} is not exported"
            continue
        there |= labels
        matched = {matcher.name for matcher in selector.matchers.matchers}
        yield from (f"{selector.name} has no label {label}" for label in sorted(matched - labels))
    yield from (f"no series has the label {label}" for label in sorted(grouped - there))


@pytest.mark.parametrize(
    ("name", "expression"), [pytest.param(*each, id=each[0]) for each in expressions(*DASHBOARDS, *RULES)]
)
def test_expression_asks_for_what_is_exported(name: str, expression: str) -> None:
    assert list(wrong(expression)) == []


@pytest.mark.parametrize(
    ("expression", "what"),
    [
        ("sum(rate(millstream_http_requests_total[1m])", "does not parse"),
        ("millstream_queue_dept", "is not exported"),
        ("millstream_http_requests", "is not exported"),
        ("rate(millstream_queue_wait_seconds[1m])", "is not exported"),
        ('millstream_queue_depth{model="x"}', "has no label model"),
        ("sum by (endpoint) (millstream_queue_depth)", "no series has the label endpoint"),
        ("stream:millstream_nothing:max", "is not exported"),
    ],
)
def test_a_wrong_expression_is_found(expression: str, what: str) -> None:
    assert any(what in each for each in wrong(expression))


@pytest.mark.parametrize("name", ["dashboard_unknown_metric.json", "rules_unknown_metric.yml"])
def test_the_bad_fixtures_are_found(name: str) -> None:
    assert [each for _, expression in expressions(BAD / name) for each in wrong(expression)]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_queues_are_not_counted_once_a_gateway(path: Path) -> None:
    """Every gateway exports the queue_* gauges: raw, they would be shown as often as there are gateways."""
    left = [
        each["expr"]
        for panel in panels(path)
        for each in panel["targets"]
        if re.search(r"(?<!:)millstream_queue_(?!wait)", each["expr"])
    ]
    assert left == []

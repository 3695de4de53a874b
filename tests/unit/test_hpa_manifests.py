"""What k8s/hpa.yaml asks for is what prometheus-adapter's rules answer; and the rules do what the adapter would."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from shared.service.catalogue_file import load_catalogue
from tests.hpa.adapter import VALUES, RuleError, load_rules, rule_of
from tests.hpa.algorithm import DEFAULT_DOWN, DEFAULT_UP
from tests.hpa.manifests import MANIFESTS, Hpa, Metric, load_cpu, load_hpas, quantity, unanswered

ROOT = MANIFESTS.parent
HPAS = load_hpas()
SERVED = load_catalogue(ROOT / "models" / "models.toml").served()
LABELS = {"model": [each.model for each in SERVED], "version": [each.version.version for each in SERVED]}
LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")  # of Kubernetes
DEPTH = "millstream_model_queue_depth"


def test_every_metric_of_every_autoscaler_is_answered() -> None:
    assert list(unanswered(HPAS, load_rules(), LABELS)) == []


@pytest.mark.parametrize(
    ("metric", "what"),
    [
        (Metric("External", "millstream_model_lag", 5, {}), "no external rule makes millstream_model_lag"),
        (Metric("External", DEPTH, 5, {"stream": "requests/a/1"}), "has no label stream"),
        (Metric("External", DEPTH, 5, {"model": ["sentiment-analysis", "sentiment"]}), "no model is 'sentiment'"),
        (Metric("External", "millstream_results_queue_depth", 5, {"model": "x"}), "has no label model"),
        (Metric("Pods", DEPTH, 5, {}), f"no custom rule makes {DEPTH}"),
    ],
)
def test_a_metric_that_nothing_answers_is_found(metric: Metric, what: str) -> None:
    assert any(what in each for each in unanswered({"a": Hpa("a", 1, 2, (metric,))}, load_rules(), LABELS))


def test_every_version_that_is_served_scales_some_worker() -> None:
    """An autoscaler adds up what its selector leaves: no version is left out, none counted for two workers."""
    selectors = [each.selector for hpa in HPAS.values() for each in hpa.metrics if each.name == DEPTH]
    for served in SERVED:
        wanted = {"model": served.model, "version": served.version.version}
        fits = [each for each in selectors if all(wanted[label] in values for label, values in each.items())]
        assert len(fits) == 1, wanted


def test_models_and_versions_can_be_label_values() -> None:
    assert all(LABEL_VALUE.fullmatch(value) for values in LABELS.values() for value in values)


def test_each_autoscaler_has_a_metric_of_its_own_and_cpu_beside_it() -> None:
    for name, hpa in HPAS.items():
        kinds = [each.kind for each in hpa.metrics]
        assert "Resource" in kinds and len(kinds) > 1, name
        assert 1 <= hpa.minimum < hpa.maximum, name


def test_depth_is_never_lag() -> None:
    values = yaml.safe_load(VALUES.read_text(encoding="utf-8"))
    assert "lag" not in yaml.safe_dump(values)


def test_a_query_is_expanded_as_the_adapter_does() -> None:
    rule = rule_of(load_rules(), "external", DEPTH)
    assert rule.external_query("s", "production", {"version": ["1", "2"], "model": "m"}) == (
        'max by (model, version) (s{model="m",version=~"1|2",namespace="production"})'
    )
    rule = rule_of(load_rules(), "custom", "millstream_http_requests_in_flight")
    assert rule.pods_query("s", "production", ["a", "b"]) == 'sum by (pod) (s{namespace="production",pod=~"a|b"})'
    assert rule.pods_query("s", "production", ["a"]) == 'sum by (pod) (s{namespace="production",pod="a"})'


def test_a_rule_that_cannot_be_expanded_says_why() -> None:
    rule = rule_of(load_rules(), "external", DEPTH)
    with pytest.raises(RuleError, match="Serie"):
        dataclasses.replace(rule, template="max(<<.Serie>>)").external_query("s", "n", {})
    with pytest.raises(RuleError, match="no label to namespace"):
        dataclasses.replace(rule, labels={}).external_query("s", "n", {})


def test_what_an_autoscaler_leaves_out_is_kubernetes_default(tmp_path: Path) -> None:
    spec = {
        "scaleTargetRef": {"name": "a"},
        "maxReplicas": 3,
        "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}},
        ],
        "behavior": {"scaleDown": {"tolerance": "0.05"}},
    }
    path = tmp_path / "hpa.yaml"
    path.write_text(yaml.safe_dump({"kind": "HorizontalPodAutoscaler", "spec": spec}), encoding="utf-8")
    hpa = load_hpas(path)["a"]
    assert (hpa.minimum, hpa.up) == (1, DEFAULT_UP)
    assert hpa.down == dataclasses.replace(DEFAULT_DOWN, tolerance=0.05)


def test_cpu_is_read_from_the_deployments() -> None:
    assert quantity("500m") == 0.5 and quantity("2") == 2
    assert all(load_cpu(name).request <= load_cpu(name).limit for name in HPAS)
    with pytest.raises(LookupError):
        load_cpu("api", ROOT / "tests" / "fixtures" / "hpa")

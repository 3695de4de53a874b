"""The autoscalers and CPU requests that k8s/ ships, read from its files: nothing of them is repeated here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scripts.kubernetes.chart import objects
from tests.hpa.adapter import Rule, RuleError, Selector, rule_of
from tests.hpa.algorithm import DEFAULT_DOWN, DEFAULT_UP, Policy, ScalingRules

MANIFESTS = Path(__file__).resolve().parents[2] / "k8s"


@dataclass(frozen=True)
class Metric:
    """One metric of an autoscaler.

    Attributes:
        kind: where it comes from.
        name: its name there; `cpu` for the resource.
        target: wanted for each replica: an average value, or percent of the request.
        selector: which series of an external metric.
    """

    kind: Literal["External", "Pods", "Resource"]
    name: str
    target: float
    selector: Selector


@dataclass(frozen=True)
class Hpa:
    """One autoscaler."""

    name: str
    minimum: int
    maximum: int
    metrics: tuple[Metric, ...]
    up: ScalingRules = DEFAULT_UP
    down: ScalingRules = DEFAULT_DOWN


@dataclass(frozen=True)
class Cpu:
    """What one pod may use."""

    request: float
    limit: float


def load_hpas(path: Path = MANIFESTS / "hpa.yaml") -> dict[str, Hpa]:
    """The autoscalers of a file, by the Deployment that they scale."""
    return {
        each["spec"]["scaleTargetRef"]["name"]: _hpa(each["spec"])
        for each in objects(path.read_text(encoding="utf-8"))
        if each["kind"] == "HorizontalPodAutoscaler"
    }


def load_cpu(deployment: str, folder: Path = MANIFESTS) -> Cpu:
    """What a Deployment's one container may use."""
    for document in objects((folder / f"deployment-{deployment}.yaml").read_text(encoding="utf-8")):
        if document["kind"] == "Deployment" and document["metadata"]["name"] == deployment:
            (container,) = document["spec"]["template"]["spec"]["containers"]
            limits = container["resources"]
            return Cpu(quantity(limits["requests"]["cpu"]), quantity(limits["limits"]["cpu"]))
    raise LookupError(f"{folder} has no Deployment {deployment}")


def quantity(text: str | int | float) -> float:
    """A Kubernetes quantity of CPUs, or of things to count."""
    text = str(text)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def unanswered(hpas: Mapping[str, Hpa], rules: Sequence[Rule], labels: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What autoscalers ask for and prometheus-adapter would not answer.

    Args:
        labels: the values that each label of a model's depth may have.
    """
    for name, hpa in hpas.items():
        for metric in hpa.metrics:
            if metric.kind == "Resource":
                continue
            try:
                rule = rule_of(rules, "external" if metric.kind == "External" else "custom", metric.name)
            except RuleError as error:
                yield f"{name}: {error}"
                continue
            yield from (f"{name}: {problem}" for problem in _unknown(metric, rule, labels))


def _unknown(metric: Metric, rule: Rule, labels: Mapping[str, Sequence[str]]) -> Iterator[str]:
    known = labels if "model" in rule.discovery else {}
    for label, wanted in metric.selector.items():
        values = [wanted] if isinstance(wanted, str) else wanted
        if label not in known:
            yield f"{metric.name} has no label {label}"
        else:
            yield from (f"{metric.name}: no {label} is {value!r}" for value in values if value not in known[label])


def _hpa(spec: Mapping[str, Any]) -> Hpa:
    behavior = spec.get("behavior", {})
    return Hpa(
        name=spec["scaleTargetRef"]["name"],
        minimum=spec.get("minReplicas", 1),
        maximum=spec["maxReplicas"],
        metrics=tuple(_metric(each) for each in spec["metrics"]),
        up=_rules(behavior.get("scaleUp", {}), DEFAULT_UP),
        down=_rules(behavior.get("scaleDown", {}), DEFAULT_DOWN),
    )


def _metric(metric: Mapping[str, Any]) -> Metric:
    kind = metric["type"]
    about = metric[kind.lower()]
    target = about["target"]
    if kind == "Resource":
        return Metric(kind, about["name"], float(target["averageUtilization"]), {})
    selector = about["metric"].get("selector", {})
    wanted: dict[str, str | Sequence[str]] = dict(selector.get("matchLabels", {}))
    for expression in selector.get("matchExpressions", []):
        if expression["operator"] != "In":
            raise ValueError(f"{about['metric']['name']}: operator {expression['operator']} is not read here, only In")
        wanted[expression["key"]] = list(expression["values"])
    return Metric(kind, about["metric"]["name"], quantity(target["averageValue"]), wanted)


def _rules(given: Mapping[str, Any], default: ScalingRules) -> ScalingRules:
    policies = tuple(Policy(each["type"], each["value"], each["periodSeconds"]) for each in given.get("policies", []))
    return ScalingRules(
        policies=policies or default.policies,
        stabilization_s=given.get("stabilizationWindowSeconds", default.stabilization_s),
        select=given.get("selectPolicy", default.select),
        tolerance=quantity(given.get("tolerance", default.tolerance)),
    )

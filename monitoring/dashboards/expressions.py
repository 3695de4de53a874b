"""Expressions that several dashboards share: names of series, matchers, rates and quantiles."""

from __future__ import annotations

RATE = "$__rate_interval"
SERVICES = 'job=~"gateway|worker|persister"'
API = 'endpoint=~"/api/.*"'
CHOSEN = 'model=~"$model",version=~"$version"'
REQUESTS = 'stream=~"requests/$model/$version"'
STREAMS = 'stream=~"requests/$model/$version|results"'
DEPTH = "stream:millstream_queue_depth:max"
PENDING = "stream:millstream_queue_pending:max"
AGE = "stream:millstream_queue_oldest_age_seconds:max"
DEPTH_BY_PRIORITY = "stream_priority:millstream_queue_depth:max"
AGE_BY_PRIORITY = "stream_priority:millstream_queue_oldest_age_seconds:max"
SERVED = "stream:millstream_workers_live:max"
BY_VERSION = "{{model}} {{version}}"


def rate(metric: str, matchers: str = "", window: str = RATE) -> str:
    """The rate of a counter."""
    return f"rate({metric}{{{matchers}}}[{window}])" if matchers else f"rate({metric}[{window}])"


def quantile(share: float, metric: str, by: str = "", matchers: str = "") -> str:
    """A quantile of a histogram."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) ({rate(f'{metric}_bucket', matchers)}))"


def mean(metric: str, by: str = "", matchers: str = "") -> str:
    """The mean of a histogram."""
    over = f"sum by ({by}) " if by else "sum"
    return f"{over}({rate(f'{metric}_sum', matchers)}) / {over}({rate(f'{metric}_count', matchers)})"


def grown(metric: str, by: str, matchers: str = "") -> str:
    """The growth of rare counters; `increase` alone misses the first event, with which such a series begins."""
    series = f"{metric}{{{matchers}}}" if matchers else metric
    new = f"({series} unless {series} offset {RATE})"
    return f"sum by ({by}) ({new} or increase({series}[{RATE}]))"


def idle_is_none(expression: str, job: str) -> str:
    """The expression, and 0 while it has no value although a service of the job answers: nothing was to be done."""
    return f'({expression}) >= 0 or 0 * max(up{{job="{job}"}} == 1)'


def percentiles(metric: str, matchers: str = "") -> list[tuple[str, str]]:
    """Median, 95th and 99th percentile."""
    return [(quantile(share / 100, metric, "", matchers), f"p{share}") for share in (50, 95, 99)]

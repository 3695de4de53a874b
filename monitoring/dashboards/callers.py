"""Who is let in, who is held back, and what the cache saves."""

from __future__ import annotations

from monitoring.dashboards.choices import MODEL_ONLY
from monitoring.dashboards.expressions import API, grown, idle_is_none, rate
from monitoring.dashboards.panels import Json, dashboard, graph, stat
from monitoring.dashboards.requests import HTTP, requests

CACHE = "millstream_cache_requests_total"
UNKNOWN = "millstream_authentication_failures_total"
LIMITED = 'millstream_errors_total{kind=~"limited_.+"}'
OF_MODEL = 'model=~"$model"'
HIT = 'outcome="hit"'
HIT_OF_MODEL = f"{OF_MODEL},{HIT}"
HIDDEN, TOO_MANY, REFUSED = f'{API},status=~"403|404"', f'{API},status="429"', f'{API},status=~"401|403|404|429"'
SHARE_OF_HITS = f"sum by (model) ({rate(CACHE, HIT_OF_MODEL)}) / sum by (model) ({rate(CACHE, OF_MODEL)})"


def _now() -> list[Json]:
    return [
        requests(),
        stat(
            "Not known who asks",
            idle_is_none(f"sum({rate(UNKNOWN)})", "gateway"),
            "reqps",
            "Requests per second with no credentials, or with such as are not valid (401).",
            ((None, "green"), (1, "orange"), (50, "red")),
            1,
        ),
        stat(
            "Not allowed",
            idle_is_none(f"sum({rate(HTTP, HIDDEN)})", "gateway"),
            "reqps",
            "Requests per second for what the caller may not do or see, or what is not there (403, 404).",
            ((None, "green"), (10, "orange")),
            1,
        ),
        stat(
            "Held back",
            idle_is_none(f"sum({rate(HTTP, TOO_MANY)})", "gateway"),
            "reqps",
            "Requests per second beyond a limit of their caller (429). Nothing of them was charged.",
            ((None, "green"), (10, "orange")),
            1,
        ),
        stat(
            "Answered by the cache",
            idle_is_none(f"sum({rate(CACHE, HIT)}) / sum({rate(CACHE)})", "gateway"),
            "percentunit",
            "Share of inputs whose result was computed before. 0 also if there is no cache (CACHE_SECRET).",
            decimals=1,
        ),
    ]


def _access() -> list[Json]:
    return [
        graph(
            "Not known who asks, by why",
            [(grown(UNKNOWN, "reason"), "{{reason}}")],
            "short",
            "Requests refused with 401. Many of one kind: a key that was revoked, or a clock that is wrong.",
        ),
        graph(
            "Responses to callers",
            [(f"sum by (status) ({rate(HTTP, REFUSED)})", "{{status}}")],
            "reqps",
            "401: not known who asks; 403: not allowed; 404: not there for the caller; 429: a limit of the caller.",
            stacked=True,
        ),
        graph(
            "Limits reached",
            [(f"sum by (kind) ({rate(LIMITED)})", "{{kind}}")],
            "reqps",
            "Which limit of callers was reached: docs/LIMITS.md. Who uses how much: GET /api/v1/usage.",
        ),
    ]


def _cache() -> list[Json]:
    return [
        graph(
            "Cache",
            [(f"sum by (model, outcome) ({rate(CACHE, OF_MODEL)})", "{{model}} {{outcome}}")],
            "reqps",
            "Inputs that might be answered by the cache.",
            stacked=True,
        ),
        graph(
            "Share of hits",
            [(SHARE_OF_HITS, "{{model}}")],
            "percentunit",
            "By model. After a new artifact is loaded, it begins at 0.",
        ),
    ]


def callers() -> Json:
    """Who is let in, who is held back, and what the cache saves."""
    rows = [("Now", 4, _now()), ("Access and limits", 8, _access()), ("Cache", 8, _cache())]
    about = "Who is let in, who is held back, and what the cache saves."
    return dashboard("millstream-callers", "Millstream / Callers", about, rows, [MODEL_ONLY])

"""GET /api/v1/usage: what callers have used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aiohttp import web

from gateway.api.queries import MOST_USAGE_DAYS, UsageQuery
from gateway.core.usage import read_usage
from gateway.http.context import HISTORY, PRINCIPAL
from gateway.http.problems import invalid
from gateway.http.queries import read_query
from gateway.http.responses import json_response


async def usage(request: web.Request) -> web.Response:
    """What was used, by day and model version: the caller's own, or with `read:all` everybody's."""
    query = read_query(request, UsageQuery)
    last = query.last or datetime.now(UTC).date()
    first = query.first or last - timedelta(days=29)
    if not timedelta(0) <= last - first < timedelta(days=MOST_USAGE_DAYS):
        raise invalid([(("query", "first"), f"must be at most {MOST_USAGE_DAYS - 1} days before `last` ({last})")])
    used = await read_usage(request.app[HISTORY], request[PRINCIPAL], first, last, query.principal)
    items = [
        {
            "day": each.day,
            "model": each.model,
            "version": each.version,
            "requests": each.requests,
            "failed": each.failed,
            "tokens": each.tokens,
            "compute_s": round(each.compute_us / 1_000_000, 6),
            "input_bytes": each.input_bytes,
        }
        for each in used
    ]
    return json_response({"items": items})

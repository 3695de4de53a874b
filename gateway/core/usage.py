"""What callers have used, by day and model version, as the persister counts it."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from gateway.core.history import History
from gateway.core.principal import Principal, Scope

_SUMS = ", ".join(f"sum(u.{each})" for each in ("requests", "failed", "tokens", "compute_us", "input_bytes"))
_USAGE = f"""
SELECT u.day, m.name, v.version, {_SUMS}
FROM usage u JOIN model_versions v ON v.id = u.model_version_id JOIN models m ON m.id = v.model_id
WHERE u.day BETWEEN $1 AND $2 AND ($3::text IS NULL OR u.principal = $3)
GROUP BY 1, 2, 3 ORDER BY 1 DESC, 2, 3"""  # nosec B608: built from constants


class Used(NamedTuple):
    """What was used of one version on one day (UTC). `compute_us` is in microseconds."""

    day: date
    model: str
    version: str
    requests: int
    failed: int
    tokens: int
    compute_us: int
    input_bytes: int


async def read_usage(
    history: History, caller: Principal, first: date, last: date, principal: str | None = None
) -> list[Used]:
    """What was used from the first to the last day, newest first; of models that the caller may use.

    Args:
        principal: whose; without one that of all for who may read all, otherwise the caller's own.

    Raises:
        StoreUnavailable: Postgres cannot be reached.
    """
    if Scope.READ_ALL not in caller.scopes:
        principal = caller.id if principal in (None, caller.id) else ""  # of another there is nothing to see
    rows = await history.fetch(_USAGE, first, last, principal)
    return [Used(day, model, version, *map(int, sums)) for day, model, version, *sums in rows if caller.may_use(model)]

"""How long a request may stay in the queue, from the query. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.http.problems import invalid
from gateway.http.queries import SECONDS, Query
from gateway.settings import LONGEST_TIMEOUT_S, GatewaySettings


class TimeoutQuery(Query):
    """When a request expires."""

    timeout: Annotated[float, Field(ge=0.001, le=LONGEST_TIMEOUT_S), SECONDS] | None = Field(
        None, description="seconds the request may stay in the queue before it expires"
    )


def timeout_ms_of(asked_s: float | None, settings: GatewaySettings, *place: str) -> int:
    """Milliseconds until a request expires.

    Args:
        place: of what is asked for in the request; in its query unless it says otherwise.

    Raises:
        ProblemError: 422, it asks for more than `MAX_TIMEOUT_S`.
    """
    seconds = settings.request_timeout_s if asked_s is None else asked_s
    if seconds > settings.max_timeout_s:
        problem = f"must be at most {settings.max_timeout_s:g} seconds, not {seconds:g}"
        raise invalid([(place or ("query", "timeout"), problem)])
    return max(1, round(seconds * 1000))

"""GET /health for people, /livez and /readyz for probes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web

from gateway.http.access import is_admin
from gateway.http.context import CATALOGUE, HISTORY, KNOWN_STREAMS, LIVENESS, REDIS, WORKERS
from gateway.http.readiness import not_ready
from gateway.http.responses import json_response
from shared.contract.errors import StoreUnavailable
from shared.contract.version_states import State, VersionState
from shared.streams.preconditions import Level

_ANSWER_WITHIN_S = 2.0


async def health(request: web.Request) -> web.Response:
    """Health of the service and its dependencies; 503 if Redis is unavailable, since nothing can be accepted then.

    What may name hosts and models is for administrators.
    """
    status, summary, details = await _report(request.app)
    shown = summary | (details if await is_admin(request) else {})
    return json_response(shown, status=status)


async def full_health(app: web.Application) -> web.Response:
    """The same with all details, for who runs the gateway."""
    status, summary, details = await _report(app)
    return json_response(summary | details, status=status)


async def _report(app: web.Application) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Status, what is for everybody, and what is for administrators."""
    reasons: dict[str, str] = {}
    seen, _ = await asyncio.gather(_ask_redis(app, reasons), _ask_postgres(app, reasons))
    degraded = reasons or any(seen)
    summary = {
        "status": "unavailable" if "redis" in reasons else "degraded" if degraded else "ok",
        **{store: "unavailable" if store in reasons else "ok" for store in ("redis", "postgres")},
    }
    details = {
        "reasons": reasons,
        "warnings": [each.sentence for each in app[REDIS].findings if each.level is Level.WARNS],
        **seen._asdict(),
    }
    return 503 if "redis" in reasons else 200, summary, details


class _Seen(NamedTuple):
    """What Redis knows: versions without a worker, or why it has no memory for them; why versions cannot be loaded;
    streams without a version."""

    unserved: Sequence[str] = ()
    waiting_for_memory: Mapping[str, str] = {}
    load_errors: Mapping[str, str] = {}
    orphans: Sequence[str] = ()


async def _look(app: web.Application) -> _Seen:
    workers, served = app[WORKERS], app[CATALOGUE].served()
    live, load_errors = await workers.live(served), await workers.load_errors(served)
    states = await workers.states()
    unserved = {label: list(states.get(label, {}).values()) for label, workers in live.items() if workers == 0}
    orphans = sorted({each.queue.version_label for each in await app[KNOWN_STREAMS].orphans()})
    return _Seen(_without_worker(unserved), _waiting(unserved), load_errors, orphans)


def _without_worker(unserved: Mapping[str, Sequence[VersionState]]) -> list[str]:
    """Those of the versions that nobody would load at once if a request came."""
    return [label for label, told in unserved.items() if State.UNLOADED not in {each.state for each in told}]


def _waiting(unserved: Mapping[str, Sequence[VersionState]]) -> dict[str, str]:
    """Why workers have no memory for versions that requests wait for."""
    return {label: each.reason for label, told in unserved.items() for each in told if each.state is State.WAITING}


async def _ask_redis(app: web.Application, reasons: dict[str, str]) -> _Seen:
    seen = _Seen()
    async with _asking("redis", reasons):
        seen = await _look(app)
        if blocked := app[REDIS].worst(Level.BLOCKED):
            reasons["redis"] = blocked.sentence
    return seen


async def _ask_postgres(app: web.Application, reasons: dict[str, str]) -> None:
    async with _asking("postgres", reasons):
        await app[HISTORY].ping()


@asynccontextmanager
async def _asking(store: str, reasons: dict[str, str]) -> AsyncIterator[None]:
    """Ask a store for a short time: who asks for health wants to hear of one that is silent."""
    try:
        async with asyncio.timeout(_ANSWER_WITHIN_S):
            yield
    except StoreUnavailable as error:
        reasons[store] = str(error)
    except TimeoutError:
        reasons[store] = f"{store} does not answer within {_ANSWER_WITHIN_S:g} s"


async def livez(request: web.Request) -> web.Response:
    """Whether the background loops are running; a 503 tells the orchestrator to restart the process."""
    stalled = request.app[LIVENESS].stalled()
    if stalled:
        reason = ", ".join(f"{loop} has made no progress for {seconds} s" for loop, seconds in stalled.items())
        return json_response({"status": "stalled", "reason": reason}, status=503)
    return json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Whether to send requests here; a 503 tells load balancers not to. Accepting them needs Redis but not Postgres."""
    reason = not_ready(request.app)
    if reason:
        details = {"reason": reason} if await is_admin(request) else {}
        return json_response({"status": "not ready", **details}, status=503)
    return json_response({"status": "ok"})

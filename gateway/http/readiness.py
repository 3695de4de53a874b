"""Whether the gateway, and a version of a model, can be sent requests."""

from __future__ import annotations

from aiohttp import web

from gateway.http.context import DRAIN, FOLLOWED, REDIS, WAITERS, WORKERS
from shared.contract.catalogue import ServedVersion
from shared.contract.version_states import State
from shared.streams.preconditions import Level


def not_ready(app: web.Application) -> str | None:
    """Why the gateway should be sent no requests; None if it should."""
    if app[DRAIN].begun:
        return "stopping"
    if not app[WAITERS].listening.is_set():
        return f"Redis is unavailable: {app[WAITERS].lost}"
    if not app[FOLLOWED].looked:
        return "it was not possible yet to look which models there are"
    blocked = app[REDIS].worst(Level.BLOCKED)
    return None if blocked is None else blocked.sentence


async def is_served(app: web.Application, served: ServedVersion) -> bool:
    """Whether a live worker serves a version, or would load it at once.

    Raises:
        StoreUnavailable: Redis cannot be reached.
    """
    if (await app[WORKERS].live([served]))[served.label]:
        return True
    states = (await app[WORKERS].states()).get(served.label, {})
    return State.UNLOADED in {each.state for each in states.values()}

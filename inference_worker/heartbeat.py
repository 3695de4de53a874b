"""A worker's sign of life: what it serves, and which versions it cannot load."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import orjson

from inference_worker.lane import Lane
from shared.contract.costs import encode_costs
from shared.contract.errors import StoreUnavailable
from shared.contract.schemas import encode_schemas
from shared.contract.version_states import VersionState, encode_states
from shared.service.lifecycle import cancel_until_ended
from shared.service.liveness import Liveness
from shared.streams.workers import Heartbeat, WorkerDirectory
from shared.telemetry.metrics import ERRORS

log = logging.getLogger(__name__)


class Served(Protocol):
    """What a worker tells about itself; see `inference_worker.versions.ServedVersions`."""

    @property
    def lanes(self) -> Sequence[Lane]:
        """What it serves."""

    @property
    def failures(self) -> Mapping[str, str]:
        """Why it cannot load the rest, by label."""

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """What computes each version, by label, once it is known."""

    @property
    def states(self) -> Mapping[str, VersionState]:
        """How far it is with each version that it is to serve, by label."""

    @property
    def news(self) -> asyncio.Event:
        """Set when one of these has changed."""


async def keep_heartbeat(
    heartbeat: Heartbeat,
    directory: WorkerDirectory,
    versions: Served,
    interval_s: float,
    liveness: Liveness,
    stop: asyncio.Event,
) -> None:
    """Send heartbeats until `stop` is set, at once if there is news; remove the consumers that dead workers left."""
    started_at = str(int(time.time() * 1000))
    while not stop.is_set():
        versions.news.clear()
        try:
            await heartbeat.beat(
                [lane.served.label for lane in versions.lanes],
                host=socket.gethostname(),
                started_at=started_at,
                in_flight=str(sum(lane.in_hand for lane in versions.lanes)),
                fingerprints=orjson.dumps(dict(versions.fingerprints)),
                states=encode_states(versions.states),
                schemas=encode_schemas({lane.served.label: lane.schemas for lane in versions.lanes}),
                costs=encode_costs({lane.served.label: lane.cost for lane in versions.lanes if lane.cost}),
            )
            await heartbeat.report_failures(versions.failures)
            for lane in list(versions.lanes):
                liveness.moved("heartbeat")
                removed = await directory.remove_dead(lane.served)
                if removed:
                    log.info("dead consumers removed", extra={"lane": lane.served.label, "count": removed})
        except StoreUnavailable:
            ERRORS.labels("inference_worker", "heartbeat").inc()
        with liveness.moving("heartbeat"):
            await _first_of(stop, versions.news, interval_s)
    try:
        await heartbeat.stop()
    except StoreUnavailable:
        log.warning("heartbeat left to expire")


async def _first_of(stop: asyncio.Event, news: asyncio.Event, timeout_s: float) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in (stop, news)]
    try:
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_until_ended(waiting)

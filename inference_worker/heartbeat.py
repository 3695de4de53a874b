"""A worker's sign of life: sent only once everything that it serves is loaded and warm."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Sequence

import orjson

from inference_worker.lane import Lane
from shared.contract.errors import StoreUnavailable
from shared.service.backoff import wait_for_stop
from shared.streams.workers import Heartbeat, WorkerDirectory
from shared.telemetry.metrics import ERRORS

log = logging.getLogger(__name__)


async def keep_heartbeat(
    heartbeat: Heartbeat, directory: WorkerDirectory, lanes: Sequence[Lane], interval_s: float, stop: asyncio.Event
) -> None:
    """Send heartbeats until `stop` is set, and remove the consumers that dead workers left."""
    started_at = str(int(time.time() * 1000))
    while not stop.is_set():
        facts = {
            "host": socket.gethostname(),
            "started_at": started_at,
            "serves": orjson.dumps([lane.served.label for lane in lanes]).decode(),
            "in_flight": str(sum(lane.in_hand for lane in lanes)),
        }
        try:
            await heartbeat.beat(facts)
            for lane in lanes:
                removed = await directory.remove_dead(lane.served)
                if removed:
                    log.info("dead consumers removed", extra={"lane": lane.served.label, "count": removed})
        except StoreUnavailable:
            ERRORS.labels("inference_worker", "heartbeat").inc()
        await wait_for_stop(stop, interval_s)
    try:
        await heartbeat.stop()
    except StoreUnavailable:
        log.warning("heartbeat left to expire")

"""A lane: the loop that serves one model version. It reads its two streams, as far ahead as `passes` has room for.

    read ──▶ decode, drop what has expired ──▶ passes: encode ──▶ wait ──▶ predict ──▶ complete

An entry that was delivered before may be what killed its worker: such entries are taken over one at a time, with
nothing else in hand, so that the delivery count tells a poison entry from its neighbours.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from inference_worker import outcomes
from inference_worker.children.device_memory import DeviceMemory
from inference_worker.engine import Engine, EngineDown
from inference_worker.held_entries import HeldEntries
from inference_worker.movement import Movement
from inference_worker.passes import Passes
from inference_worker.progress import ProgressReports
from inference_worker.settings import WorkerSettings
from inference_worker.triage import triage
from shared.contract.catalogue import ServedVersion
from shared.contract.costs import Cost
from shared.contract.errors import StoreUnavailable
from shared.contract.fields import priority_of
from shared.contract.keys import request_stream_name
from shared.contract.queues import Priority
from shared.contract.schemas import Schemas
from shared.service.liveness import Liveness
from shared.streams.redis_watch import RedisWatch
from shared.streams.request_stream import Completed, Read
from shared.streams.version_streams import Counts, VersionStreams
from shared.telemetry.metrics import REDELIVERIES

if TYPE_CHECKING:
    from inference_worker.tracing import LaneSpans

log = logging.getLogger(__name__)

_LOOK_AGAIN_MS = 10  # while enough of `batch` waits here: whether it still does


class Lane:
    """Serves one model version from its streams.

    Attributes:
        last_used: when it last had a request, on the monotonic clock; at first, when it was made.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        served: ServedVersion,
        streams: VersionStreams,
        engine: Engine,
        liveness: Liveness,
        worker_id: str,
        redis: RedisWatch,
        spans: LaneSpans | None = None,
    ) -> None:
        self.served = served
        self._settings = settings
        self._limits = served.version.batch
        self._streams = streams
        self._redis = redis
        self._engine = engine
        self._worker_id = worker_id
        self._held = HeldEntries(streams, served, liveness, settings.visibility_timeout_ms, spans)
        self._movement = Movement(liveness, f"lane {served.label}", settings.stall_timeout_s)
        reports = ProgressReports(streams)
        self._passes = Passes(settings, served, self._held, engine, self._movement, worker_id, spans, reports)
        self._held.on_lost = self._passes.forget
        self._next_claim = 0.0
        self._last_read = 0
        self.last_used = time.monotonic()

    @property
    def schemas(self) -> Schemas:
        """What its task declares that it takes and gives."""
        return self._engine.schemas

    @property
    def cost(self) -> Cost | None:
        """What requests have cost lately; None before any was computed."""
        return self._passes.costs.cost

    @property
    def in_hand(self) -> int:
        """How many entries this lane has read and not yet finished."""
        return len(self._held.entries)

    def memory_bytes(self) -> int:
        """The memory of its children."""
        return self._engine.memory_bytes()

    @property
    def device(self) -> str:
        """Where its children compute."""
        return self._engine.device

    def device_memory(self) -> DeviceMemory | None:
        """The memory of their GPU; None if they use none."""
        return self._engine.device_memory()

    @property
    def unavailable(self) -> str | None:
        """Why the lane cannot serve at the moment; None if it can."""
        return self._held.unavailable

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then finish the passes that are being computed and give back the rest.

        Raises:
            EngineDown: the version cannot be computed here any more; everything was given back.
        """
        down: EngineDown | None = None
        while not stop.is_set() and down is None:
            self._movement.moved()
            try:
                await self._redis.require()
                await self._streams.join()
                await self._serve(stop)
            except StoreUnavailable as error:
                await self._held.note_unavailable(error, stop)
            except EngineDown as error:
                down = error
        with suppress(EngineDown):  # it is known already, or nobody asks: after a stop
            await self._passes.drain()
        await self._leave()
        if down is not None and not stop.is_set():
            raise down

    async def keep_claims(self, stop: asyncio.Event) -> None:
        """Keep the claim on everything in hand until `stop` is set and nothing is in hand any more."""
        await self._held.keep_claimed(stop)

    async def _serve(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._movement.moved()
            self._passes.settle()
            took_over = await self._take_over(stop)
            room = self._passes.room(self._last_read)
            if not any(room):
                await self._passes.one_ended()
                continue
            read = await self._read(room, 0 if took_over else self._pause_ms(room))
            self._held.note_available()
            await self._begin(read, stop)
            if not room.interactive and not read.deliveries:
                await self._passes.one_ended()

    def _pause_ms(self, room: Counts) -> int:
        """How long to wait for requests: not long if what is read ahead of one stream may be used up meanwhile."""
        if not room.interactive:
            return 0
        return self._settings.read_block_ms if room.batch else min(self._settings.read_block_ms, _LOOK_AGAIN_MS)

    async def _read(self, room: Counts, block_ms: int) -> Read:
        """Read one window; a batch that is not full waits for more requests if the version's limits say so."""
        limits = self._limits
        read = await self._streams.read(room, block_ms)
        self._held.hold(read.deliveries)
        if 0 < _interactive(read) < min(room.interactive, limits.max_batch_size) and limits.max_wait_ms:
            await asyncio.sleep(limits.max_wait_ms / 1000)
            read = await self._read_more(read)
        if room.interactive:
            self._last_read = _interactive(read)
        return read

    async def _read_more(self, read: Read) -> Read:
        try:
            more = await self._streams.read(Counts(self._limits.max_batch_size - _interactive(read), 0), 0)
        except StoreUnavailable:
            return read  # what is in hand is computed; the next read will fail and be reported
        self._held.hold(more.deliveries)
        return Read([*read.deliveries, *more.deliveries], more.now_ms)

    async def _take_over(self, stop: asyncio.Event) -> bool:
        """Claim abandoned entries and compute them with nothing else in hand; False if there were none."""
        if time.monotonic() < self._next_claim:
            return False
        if not await self._streams.has_abandoned(self._settings.visibility_timeout_ms):
            interval = self._settings.claim_interval_ms / 1000
            self._next_claim = time.monotonic() + interval * random.uniform(0.75, 1.25)
            return False
        await self._passes.all_ended()
        claimed = await self._streams.claim(self._settings.visibility_timeout_ms, self._limits.max_batch_size)
        self._held.hold(claimed.deliveries)
        REDELIVERIES.labels(request_stream_name(self.served.model, self.served.version.version)).inc(
            len(claimed.deliveries)
        )
        await self._begin(claimed, stop)
        await self._passes.all_ended()
        return True

    async def _begin(self, read: Read, stop: asyncio.Event) -> None:
        """Decode, and pass on what will be computed; the rest is finished here."""
        if read.deliveries:
            self.last_used = time.monotonic()
        sorted_out = triage(read, self._settings.max_deliveries)
        for each in sorted_out.given_up:
            await self._held.dead_letter(*each, stop)
        expired = [
            Completed(delivery, request, outcomes.expired(request, read.now_ms, self._worker_id))
            for delivery, request in sorted_out.expired
        ]
        await self._held.finish(expired, stop)
        await self._passes.add(sorted_out.to_compute, read.now_ms, stop)

    async def _leave(self) -> None:
        try:
            await self._streams.leave()
        except StoreUnavailable:
            log.warning("consumer not removed", extra={"lane": self.served.label})
        self._engine.close()
        self._movement.ended()


def _interactive(read: Read) -> int:
    """How many of its entries are interactive."""
    return sum(priority_of(each.fields) is Priority.INTERACTIVE for each in read.deliveries)

"""The persister's loop: read a batch of results and hold on to it until it is written; beside it, make partitions.

For speed, the next batch is read and decoded while one is written, and never more: Postgres is busy meanwhile. What
others left behind is claimed with nothing in hand: after a long outage a claim would find this persister's own batches
too, and what ended a persister should come alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from persister.batch_writer import BatchWriter, Entry, decoded
from persister.database import Database
from persister.partitions import months_from
from persister.settings import PersisterSettings
from shared.contract.errors import StoreUnavailable
from shared.postgres.errors import RowRejected
from shared.service.backoff import Backoff
from shared.service.liveness import Liveness
from shared.streams.redis_watch import RedisWatch
from shared.streams.result_stream import READ_BYTES, ResultStream, size_of
from shared.telemetry.metrics import ERRORS, REDELIVERIES

if TYPE_CHECKING:
    from persister.tracing import PersisterSpans

log = logging.getLogger(__name__)

_PARTITION_CHECK_S = 3600
_RETRY_WHILE_STOPPING_S = 0.2


class Persister:
    """Moves results from Redis to Postgres."""

    def __init__(
        self,
        settings: PersisterSettings,
        stream: ResultStream,
        database: Database,
        liveness: Liveness,
        redis: RedisWatch,
        spans: PersisterSpans | None = None,
    ) -> None:
        self._settings = settings
        self._stream = stream
        self._redis = redis
        self._database = database
        self._liveness = liveness
        self._spans = spans
        self._writer = BatchWriter(stream, database, liveness, spans)
        self._backoff = Backoff()
        self._next_claim = 0.0
        self._has_partitions = False
        self._is_prepared = False
        self.unavailable: str | None = "starting"

    async def run(self, stop: asyncio.Event) -> None:
        """Persist until `stop` is set and everything that was read has been written."""
        while not stop.is_set():
            self._liveness.moved("persist")
            try:
                await self._redis.require()
                await self._prepare()
                await self._stream.join()
                await self._persist(stop)
            except StoreUnavailable as error:
                await self._note(error, stop)
        await self._leave()

    async def _prepare(self) -> None:
        """Before rows are stored, and again after each outage: Postgres is fit for it, and is this Redis's own.

        Partitions are made before any row: one cannot be made once rows of its month are in the default partition.
        """
        if self._is_prepared:
            return
        await self._stream.deployment.bind(await self._database.check())
        if not self._has_partitions:
            with self._liveness.moving("persist"):
                await self.make_partitions(datetime.now(UTC))
            self._has_partitions = True
        self._is_prepared = True

    async def keep_partitions(self, stop: asyncio.Event) -> None:
        """Make month partitions ahead of time: at once, and then every hour."""
        backoff = Backoff(longest_s=60)
        while not stop.is_set():
            try:
                with self._liveness.moving("partitions"):
                    await self.make_partitions(datetime.now(UTC))
                backoff.succeeded()
                await self._liveness.wait("partitions", stop, _PARTITION_CHECK_S)
            except StoreUnavailable:
                ERRORS.labels("persister", "partition").inc()
                with self._liveness.moving("partitions"):
                    await backoff.pause(stop)

    async def make_partitions(self, now: datetime) -> None:
        """Make the partitions of this month and of the months ahead.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        for month in months_from(now, self._settings.partition_months_ahead):
            try:
                await self._database.make_partition(month)
            except RowRejected as error:
                # Rows of that month are in the default partition already; they are read from there.
                ERRORS.labels("persister", "partition").inc()
                log.error("partition not made", extra={"partition": f"predictions_{month:%Y_%m}", "detail": str(error)})

    async def _persist(self, stop: asyncio.Event) -> None:
        ahead: asyncio.Task[Sequence[Entry]] | None = None
        while ahead is not None or not stop.is_set():
            batch = await (self._next_batch() if ahead is None else ahead)
            self._liveness.moved("persist")
            reads_ahead = batch and not stop.is_set() and time.monotonic() < self._next_claim
            ahead = asyncio.create_task(self._read(), name="read ahead") if reads_ahead else None
            if batch and not await self._write(batch, stop):
                continue
            self.unavailable = None
            self._backoff.succeeded()

    async def _write(self, batch: Sequence[Entry], stop: asyncio.Event) -> bool:
        """Write a batch, through outages: giving up would leave it pending until the visibility timeout.

        Returns:
            Whether all of it is stored: results that Postgres cannot store in time are left pending.
        """
        if self._spans is not None:
            self._spans.batch_begun()
        while True:
            try:
                await self._prepare()
                problem = await self._writer.write(batch)
            except StoreUnavailable as error:
                await self._note(error, stop)
                self._liveness.moved("persist")
                if stop.is_set():
                    await asyncio.sleep(_RETRY_WHILE_STOPPING_S)
                continue
            if problem is not None:
                await self._note(problem, stop)
            return problem is None

    async def _note(self, error: StoreUnavailable, stop: asyncio.Event) -> None:
        self.unavailable = str(error)
        self._is_prepared = False
        ERRORS.labels("persister", f"{error.store}_{error.reason}").inc()
        log.warning("store unavailable", extra={"store": error.store, "reason": error.reason, "detail": str(error)})
        await self._backoff.pause(stop)

    async def _next_batch(self) -> Sequence[Entry]:
        settings = self._settings
        if time.monotonic() >= self._next_claim:
            claimed = await self._stream.claim(settings.visibility_timeout_ms, settings.persist_batch_size)
            if claimed:
                REDELIVERIES.labels("results").inc(len(claimed))
                return await decoded(claimed)
            self._next_claim = time.monotonic() + settings.claim_interval_ms / 1000
            await self._stream.remove_idle(settings.visibility_timeout_ms)
        return await self._read()

    async def _read(self) -> Sequence[Entry]:
        settings = self._settings
        batch = list(await self._stream.read(settings.persist_batch_size, settings.read_block_ms))
        if batch and (room := settings.persist_batch_size - len(batch)) and settings.persist_max_wait_ms:
            if (room_bytes := READ_BYTES - sum(map(size_of, batch))) > 0:
                await asyncio.sleep(settings.persist_max_wait_ms / 1000)
                batch += await self._stream.read(room, 0, room_bytes)
        return await decoded(batch)

    async def _leave(self) -> None:
        try:
            await self._stream.leave()
        except StoreUnavailable:
            log.warning("consumer not removed", extra={"store": "redis"})
        self._liveness.ended("persist")

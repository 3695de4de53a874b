"""The persister's loop: read results, write them in one statement, and only then forget them.

Order is everything: entries are acknowledged, deleted, and their states dropped after the commit, so a crash at any
point repeats work (`ON CONFLICT DO NOTHING`) and loses none.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from persister.database import Database, RowRejected
from persister.partitions import partitions_from
from persister.rows import Row, rejected, row_of
from persister.settings import PersisterSettings
from shared.contract.errors import MalformedMessage, StoreUnavailable
from shared.contract.messages import decode_result
from shared.service.backoff import Backoff, wait_for_stop
from shared.service.liveness import Liveness
from shared.streams.request_stream import Delivery, readable_id
from shared.streams.result_stream import Persisted, ResultStream
from shared.telemetry.metrics import DEAD_LETTERS, ERRORS, PERSIST_BATCH_SIZE, PERSIST_LAG, REDELIVERIES
from shared.telemetry.prediction_log import PredictionLog
from shared.telemetry.traceparent import exemplar_of

if TYPE_CHECKING:
    from persister.tracing import PersisterSpans

log = logging.getLogger(__name__)
predictions = PredictionLog(log)

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
        spans: PersisterSpans | None = None,
    ) -> None:
        self._settings = settings
        self._stream = stream
        self._database = database
        self._liveness = liveness
        self._spans = spans
        self._backoff = Backoff()
        self._next_claim = 0.0
        self._has_partitions = False
        self.unavailable: str | None = "starting"

    async def run(self, stop: asyncio.Event) -> None:
        """Persist until `stop` is set and nothing read is left unwritten."""
        while not stop.is_set():
            self._liveness.moved("persist")
            try:
                await self._first_partitions()
                await self._stream.join()
                await self._persist_until_trouble(stop)
            except StoreUnavailable as error:
                await self._note(error, stop)
        await self._leave()

    async def _first_partitions(self) -> None:
        """Rows that come before their month's partition would keep it from ever being made."""
        if not self._has_partitions:
            await self.make_partitions(datetime.now(UTC))
            self._has_partitions = True

    async def keep_partitions(self, stop: asyncio.Event) -> None:
        """Make month partitions ahead of time, now and then every hour."""
        backoff = Backoff(longest_s=60)
        while not stop.is_set():
            try:
                await self.make_partitions(datetime.now(UTC))
                backoff.succeeded()
                await wait_for_stop(stop, _PARTITION_CHECK_S)
            except StoreUnavailable:
                await backoff.pause(stop)

    async def make_partitions(self, now: datetime) -> None:
        """Make the partitions of this month and of the months ahead.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        for partition in partitions_from(now, self._settings.partition_months_ahead):
            try:
                await self._database.make_partition(partition)
            except RowRejected as error:
                # Rows of that month are in the default partition already; they are served from there.
                ERRORS.labels("persister", "partition").inc()
                log.error("partition not made", extra={"partition": partition.name, "detail": str(error)})

    async def _persist_until_trouble(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            deliveries = await self._next_batch()
            self._liveness.moved("persist")
            if deliveries:
                await self._persist_whatever_happens(deliveries, stop)
            self.unavailable = None
            self._backoff.succeeded()

    async def _persist_whatever_happens(self, deliveries: Sequence[Delivery], stop: asyncio.Event) -> None:
        """Hold on to a batch through outages; giving up would leave it pending until the visibility timeout."""
        if self._spans is not None:
            self._spans.batch_read()
        while True:
            try:
                return await self._persist(deliveries)
            except StoreUnavailable as error:
                await self._note(error, stop)
                self._liveness.moved("persist")
                if stop.is_set():
                    await asyncio.sleep(_RETRY_WHILE_STOPPING_S)

    async def _note(self, error: StoreUnavailable, stop: asyncio.Event) -> None:
        self.unavailable = str(error)
        ERRORS.labels("persister", f"{error.store}_unavailable").inc()
        log.warning("store unavailable", extra={"store": error.store, "detail": str(error)})
        await self._backoff.pause(stop)

    async def _next_batch(self) -> Sequence[Delivery]:
        settings = self._settings
        if time.monotonic() >= self._next_claim:
            claimed = await self._stream.claim(settings.visibility_timeout_ms, settings.persist_batch_size)
            if claimed:
                REDELIVERIES.labels("results").inc(len(claimed))
                return claimed
            self._next_claim = time.monotonic() + settings.claim_interval_ms / 1000
            await self._stream.remove_idle(settings.visibility_timeout_ms)
        batch = list(await self._stream.read(settings.persist_batch_size, settings.read_block_ms))
        if batch and len(batch) < settings.persist_batch_size and settings.persist_max_wait_ms:
            await asyncio.sleep(settings.persist_max_wait_ms / 1000)
            batch += await self._stream.read(settings.persist_batch_size - len(batch), 0)
        return batch

    async def _persist(self, deliveries: Sequence[Delivery]) -> None:
        rows: list[tuple[Delivery, Row]] = []
        done: list[Persisted] = []
        for delivery in deliveries:
            try:
                rows.append((delivery, row_of(decode_result(delivery.fields))))
            except MalformedMessage as error:
                await self._give_up(delivery, error.reason, str(error))
                done.append(Persisted(delivery.entry, readable_id(delivery.fields), 0))
        if rows:
            await self._store(rows)
        await self._stream.forget([*done, *(Persisted(delivery.entry, row.id, row.attempt) for delivery, row in rows)])
        self._observe([row for _, row in rows])

    async def _store(self, rows: Sequence[tuple[Delivery, Row]]) -> None:
        """Insert; a row that Postgres rejects is found by halving, and stored as failed without its data."""
        try:
            await self._database.insert([row for _, row in rows])
        except RowRejected as error:
            if len(rows) > 1:
                middle = len(rows) // 2
                await self._store(rows[:middle])
                await self._store(rows[middle:])
                return
            delivery, row = rows[0]
            await self._give_up(delivery, error.reason, str(error))
            await self._database.insert([rejected(row, error.reason)])

    async def _give_up(self, delivery: Delivery, reason: str, error: str) -> None:
        await self._stream.dead_letter(delivery, reason, error)
        DEAD_LETTERS.labels("results", reason).inc()
        about = {"entry": delivery.entry, "prediction_id": readable_id(delivery.fields)}
        log.error("result dead-lettered", extra={**about, "reason": reason})
        if self._spans is not None:
            self._spans.dead_lettered(delivery, reason)

    def _observe(self, rows: Sequence[Row]) -> None:
        now = datetime.now(UTC)
        PERSIST_BATCH_SIZE.observe(len(rows))
        if self._spans is not None:
            self._spans.stored(rows)
        for row in rows:
            lag_s = max(0.0, (now - row.completed_at).total_seconds())
            PERSIST_LAG.observe(lag_s, None if self._spans is None else exemplar_of(row.traceparent))
            if predictions.wants(row.id):
                predictions.event(
                    "stored",
                    row.id,
                    row.traceparent,
                    model=row.model,
                    version=row.version,
                    status=row.status,
                    lag_ms=round(lag_s * 1000),
                )

    async def _leave(self) -> None:
        try:
            await self._stream.leave()
        except StoreUnavailable:
            log.warning("left without saying so", extra={"store": "redis"})
        self._liveness.ended("persist")

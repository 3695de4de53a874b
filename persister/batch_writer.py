"""Writing one batch of results: commit the rows, add what was refused to the dead letters, forget the entries.

Order is everything: an entry is acknowledged and deleted, and the state of its prediction dropped, only after its row
is committed. A crash at any point therefore repeats work (`ON CONFLICT DO NOTHING`) and loses none, and an accepted id
is in Redis or in Postgres at every moment.

Every entry whose prediction id can be read ends as a row. A result that cannot be read, or that Postgres rejects,
becomes a row that failed and says why, and the entry itself is kept as a dead letter. Nothing that an entry holds may
stop the persister: if Postgres rejects even the plainest row, the dead letter is all that is left.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from persister.database import Database
from persister.rows import Row, row_of, stand_ins, unreadable
from shared.contract.errors import MalformedMessage, PermanentError, StoreUnavailable
from shared.contract.messages import decode_result
from shared.postgres.errors import SLOW, UNKNOWN, RowRejected
from shared.service.liveness import Liveness
from shared.streams.request_stream import Delivery, readable_id
from shared.streams.result_stream import Persisted, ResultStream
from shared.telemetry.metrics import DEAD_LETTERS, ERRORS, PERSIST_BATCH_SIZE, PERSIST_LAG
from shared.telemetry.prediction_log import PredictionLog
from shared.telemetry.traceparent import exemplar_of

if TYPE_CHECKING:
    from persister.tracing import PersisterSpans

log = logging.getLogger(__name__)
prediction_log = PredictionLog(log)

# What fewer rows may not suffer from, or one row may be the cause of.
_HALVED = frozenset({SLOW, "out_of_memory", UNKNOWN.reason})

_DECODED_AT_ONCE = 50  # about 1 ms


class Entry(NamedTuple):
    """An entry of a batch, decoded.

    Attributes:
        row: what is stored for it; None if nothing is.
        refused: why it cannot be stored as it is; None if it can.
    """

    delivery: Delivery
    row: Row | None
    refused: PermanentError | None = None


class BatchWriter:
    """Writes one batch at a time."""

    def __init__(
        self, stream: ResultStream, database: Database, liveness: Liveness, spans: PersisterSpans | None = None
    ) -> None:
        self._stream = stream
        self._database = database
        self._liveness = liveness
        self._spans = spans
        self._most_rows = sys.maxsize  # at a time; fewer after a batch that was too slow
        self._done: set[str] = set()  # what of this batch was written, or left for later: a retry leaves it out
        self._dead: set[str] = set()  # what this batch has added to the dead letters: a retry does not add it again

    async def write(self, entries: Sequence[Entry]) -> StoreUnavailable | None:
        """Store a batch and forget it, in parts if Postgres is too slow for the whole.

        Returns:
            Why single results were left pending: each takes too long by itself, and is claimed again after the
            visibility timeout. None: everything is stored.

        Raises:
            StoreUnavailable: a store cannot be used, or so many rows take too long: call again with the same batch.
                What is stored is not stored again, and half as many rows are tried at a time.
        """
        problem = None
        while left := [each for each in entries if each.delivery.entry not in self._done]:
            part = left[: self._most_rows]
            try:
                await self._write_part(part)
                if len(part) == self._most_rows:
                    self._most_rows += max(1, self._most_rows // 8)
            except StoreUnavailable as error:
                if error.reason not in _HALVED:
                    raise
                if len(part) > 1:
                    self._most_rows = len(part) // 2
                    log.warning("batch halved", extra={"rows": self._most_rows, "reason": error.reason})
                    raise
                problem = error
                log.error("result left for later", extra={"entry": part[0].delivery.entry, "detail": str(error)})
            self._done.update(each.delivery.entry for each in part)
        self._done.clear()
        return problem

    async def _write_part(self, part: Sequence[Entry]) -> None:
        entries = await self._store(part)
        refused = [each for each in entries if each.refused is not None]
        await self._forget([each for each in entries if each.refused is None])  # makes room for the dead letters
        for each in refused:
            await self._dead_letter(each)
        await self._forget(refused)
        self._dead.clear()
        self._observe([each.row for each in entries if each.row is not None])

    async def _store(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Insert the rows; one that Postgres rejects is found by halving. The answer says what is stored."""
        rows = [each.row for each in entries if each.row is not None]
        if not rows:
            return entries
        try:
            await self._insert(rows)
            return entries
        except RowRejected as error:
            if len(entries) == 1:
                return [await self._store_instead(entries[0], rows[0], error)]
        middle = len(entries) // 2
        return [*await self._store(entries[:middle]), *await self._store(entries[middle:])]

    async def _store_instead(self, entry: Entry, row: Row, error: RowRejected) -> Entry:
        refused = entry.refused or error
        for stand_in in stand_ins(row, refused.reason):
            try:
                await self._insert([stand_in])
                return entry._replace(row=stand_in, refused=refused)
            except RowRejected:
                continue
        ERRORS.labels("persister", "unstorable").inc()
        log.error("result not stored", extra={"entry": entry.delivery.entry, "prediction_id": row.id})
        return entry._replace(row=None, refused=refused)

    async def _insert(self, rows: Sequence[Row]) -> None:
        self._liveness.moved("persist")  # at each statement: a batch with many rows to reject takes long
        await self._database.insert(rows)

    async def _dead_letter(self, entry: Entry) -> None:
        delivery, _, refused = entry
        if refused is None or delivery.entry in self._dead:
            return
        self._liveness.moved("persist")
        await self._stream.dead_letter(delivery, refused.reason, str(refused))
        self._dead.add(delivery.entry)
        DEAD_LETTERS.labels("results", refused.reason).inc()
        about = {"entry": delivery.entry, "prediction_id": readable_id(delivery.fields)}
        log.error("result dead-lettered", extra={**about, "reason": refused.reason})
        if self._spans is not None:
            self._spans.dead_lettered(delivery, refused.reason)

    async def _forget(self, entries: Sequence[Entry]) -> None:
        if entries:
            await self._stream.forget([_persisted(each) for each in entries])

    def _observe(self, rows: Sequence[Row]) -> None:
        now_s = datetime.now(UTC).timestamp()
        PERSIST_BATCH_SIZE.observe(len(rows))
        if self._spans is not None:
            self._spans.stored(rows)
        for row in rows:
            lag_s = max(0.0, now_s - row.completed_at.timestamp())
            PERSIST_LAG.observe(lag_s, None if self._spans is None else exemplar_of(row.traceparent))
            if prediction_log.wants(row.id):
                prediction_log.event(
                    "stored",
                    row.id,
                    row.traceparent,
                    model=row.model,
                    version=row.version,
                    status=row.status,
                    lag_ms=round(lag_s * 1000),
                )


async def decoded(deliveries: Sequence[Delivery]) -> list[Entry]:
    """Entries, whatever they hold. It takes as long as Postgres does, whose answer has its turn meanwhile."""
    entries = []
    for number, each in enumerate(deliveries, start=1):
        entries.append(_entry(each))
        if number % _DECODED_AT_ONCE == 0:
            await asyncio.sleep(0)
    return entries


def _entry(delivery: Delivery) -> Entry:
    try:
        return Entry(delivery, row_of(decode_result(delivery.fields)))
    except MalformedMessage as error:
        prediction_id = readable_id(delivery.fields)
        if not prediction_id:
            return Entry(delivery, None, error)
        return Entry(delivery, unreadable(prediction_id, delivery.entry, delivery.fields, str(error)), error)


def _persisted(entry: Entry) -> Persisted:
    delivery, row, _ = entry
    if row is None:
        return Persisted(delivery.entry, readable_id(delivery.fields), 0)
    return Persisted(delivery.entry, row.id, row.attempt)

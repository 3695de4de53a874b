"""Deleting the predictions of models that are not to be kept for ever (`retention_days` in the catalogue).

Where no model keeps a month any more, it is dropped, which costs next to nothing. Rows of other months go one by one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from persister.erasure_store import LOWEST, ErasureStore
from persister.partitions import end_of
from shared.contract.catalogue import Model
from shared.contract.errors import StoreUnavailable
from shared.contract.ids import first_id_at
from shared.service.backoff import Backoff
from shared.service.liveness import Liveness
from shared.telemetry.metrics import ERRORS

log = logging.getLogger(__name__)

LOOP = "retention"
_EVERY_S = 3600
_LEAST_PAUSE_S = 0.01


class Retention:
    """Deletes what is too old, once an hour. Several persisters may do so at once."""

    def __init__(self, store: ErasureStore, models: Sequence[Model], liveness: Liveness) -> None:
        self._store = store
        self._days = {each.name: each.retention_days for each in models if each.retention_days is not None}
        self._liveness = liveness

    async def run(self, stop: asyncio.Event) -> None:
        """Delete until `stop` is set, as the loop "retention"."""
        backoff = Backoff()
        while not stop.is_set():
            try:
                await self.delete(datetime.now(UTC), stop)
                backoff.succeeded()
                await self._liveness.wait(LOOP, stop, _EVERY_S)
            except StoreUnavailable:
                ERRORS.labels("persister", LOOP).inc()
                with self._liveness.moving(LOOP):
                    await backoff.pause(stop)

    async def delete(self, now: datetime, stop: asyncio.Event) -> int:
        """Delete what is too old, unless `stop` is set before its end; returns how many rows, without dropped months.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        await self._drop_months(now, stop)
        deleted = 0
        for model, days in self._days.items():
            of_model, below = 0, first_id_at(now - timedelta(days=days))
            for version in await self._store.versions_of(model):
                of_model += await self._delete_of(version, below, stop)
            if of_model:
                log.info("old predictions deleted", extra={"model": model, "count": of_model})
            deleted += of_model
        return deleted

    async def _drop_months(self, now: datetime, stop: asyncio.Event) -> None:
        for month in await self._store.months() if self._days else ():
            over = [model for model, days in self._days.items() if end_of(month) <= now - timedelta(days=days)]
            if stop.is_set() or not over:
                break  # they are in order: later ones are younger
            versions = [version for model in over for version in await self._store.versions_of(model)]
            with self._liveness.moving(LOOP):
                dropped = await self._store.drop_month(month, versions)
            if dropped:
                log.info("month dropped", extra={"partition": f"predictions_{month:%Y_%m}"})

    async def _delete_of(self, version: int, below: UUID, stop: asyncio.Event) -> int:
        deleted, after = 0, LOWEST
        while not stop.is_set():
            began = time.monotonic()
            ids = await self._store.delete_old(version, below, after)
            if not ids:
                break
            deleted, after = deleted + len(ids), ids[-1]
            pause_s = max(_LEAST_PAUSE_S, time.monotonic() - began)  # others have Postgres for half of the time
            await self._liveness.wait(LOOP, stop, pause_s)
        return deleted

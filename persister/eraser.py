"""Erasing predictions that administrators have asked to have erased, wherever they are.

A prediction that was accepted before is in a request stream, among the results or the dead letters, or in Postgres, and
it moves on meanwhile. So everything is looked through again and again until one pass has found nothing; only then is an
erasure done. Whatever a persister has in hand is still among the results, since it leaves them only after its row is
committed. All steps may be repeated: if this process dies, another takes the erasure up once its lease has lapsed.

A process that was frozen for so long that another stored its results may still store them itself. So what is done is
looked at again for a day.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from typing import Any

from persister.erasure_store import LOWEST, ErasureStore
from shared.contract.erasure import Erasure
from shared.contract.errors import StoreUnavailable
from shared.service.backoff import Backoff
from shared.service.liveness import Liveness
from shared.streams.erasing import Erasing, is_forbidden
from shared.telemetry.metrics import ERRORS

log = logging.getLogger(__name__)

LOOP = "erasures"
_LOOK_EVERY_S = 2.0
_PASS_EVERY_S = 0.5  # while results wait to be stored
_REWRITE_LOOK_S = 0.2
_LOOK_AGAIN, _LOOK_AGAIN_UNTIL = timedelta(hours=1), timedelta(days=1)
_LEAST_PAUSE_S = 0.01


class _Stopped(Exception):
    """The process is told to stop: another goes on."""


class Eraser:
    """Erases, one erasure at a time."""

    def __init__(self, store: ErasureStore, erasing: Erasing, liveness: Liveness) -> None:
        self._store = store
        self._erasing = erasing
        self._liveness = liveness

    async def run(self, stop: asyncio.Event) -> None:
        """Erase until `stop` is set, as the loop "erasures"."""
        backoff = Backoff()
        while not await self._liveness.wait(LOOP, stop, _LOOK_EVERY_S):
            try:
                while await self.erase_one(stop):
                    backoff.succeeded()
            except StoreUnavailable as error:
                ERRORS.labels("persister", "erasure").inc()
                log.warning("erasure interrupted", extra={"store": error.store, "detail": str(error)})
                with self._liveness.moving(LOOP):
                    await backoff.pause(stop)

    async def erase_one(self, stop: asyncio.Event) -> bool:
        """Take an erasure and bring it to its end; returns whether there was one and it came to its end.

        Raises:
            StoreUnavailable: a store cannot be reached.
        """
        taken = await self._store.take()
        if taken is None:
            return False
        try:
            if taken.is_done:
                await self._look_again(taken.erasure, stop)
            else:
                await self._erase(taken.erasure, stop)
        except _Stopped:
            await self._store.release(taken.erasure)
            return False
        return True

    async def _erase(self, erasure: Erasure, stop: asyncio.Event) -> None:
        log.info("erasing", extra={"erasure": str(erasure.id)})
        while True:
            began = time.monotonic()
            found, waiting = await self._pass(erasure, stop)
            if not found and not waiting:
                break
            if waiting:  # a long look at many results is not repeated at once
                await self._pause(stop, max(_PASS_EVERY_S, time.monotonic() - began))
        await self._erasing.forget_cached()
        note = await self._rewrite(erasure, stop)
        await self._store.finish(erasure, note, _LOOK_AGAIN)
        log.info("erased", extra={"erasure": str(erasure.id), "note": note})

    async def _look_again(self, erasure: Erasure, stop: asyncio.Event) -> None:
        if await self._delete_rows(erasure, stop):
            log.warning("erased what was stored late", extra={"erasure": str(erasure.id)})
            await self._store.reopen(erasure)
            await self._erase(erasure, stop)
        else:
            await self._store.look_again(erasure, _LOOK_AGAIN_UNTIL, _LOOK_AGAIN)

    async def _pass(self, erasure: Erasure, stop: asyncio.Event) -> tuple[int, int]:
        """Look everywhere once, in the order in which predictions move on: how many were found, and how many wait."""
        requests = await self._sum(erasure, self._erasing.cancel_requests(erasure), stop)
        waiting = await self._sum(erasure, self._erasing.count_results(erasure), stop)
        dead_letters = await self._sum(erasure, self._erasing.delete_dead(erasure), stop)
        await self._store.count(erasure, requests=requests, dead_letters=dead_letters, waiting=waiting)
        return requests + dead_letters + await self._delete_rows(erasure, stop), waiting

    async def _delete_rows(self, erasure: Erasure, stop: asyncio.Event) -> int:
        deleted, after = 0, LOWEST
        while True:
            began = time.monotonic()
            ids = await self._store.delete_rows(erasure, after)
            if not ids:
                return deleted
            deleted, after = deleted + len(ids), ids[-1]
            await self._pause(stop, time.monotonic() - began)  # others have Postgres for half of the time

    async def _rewrite(self, erasure: Erasure, stop: asyncio.Event) -> str:
        """Have Redis write its append-only file anew, and wait for it; returns what is to be told of that."""
        obstacle = await self._erasing.rewrite_obstacle()
        if obstacle:
            return obstacle
        try:
            while True:
                await self._until(erasure, stop, self._rewrites_nothing)  # what began before still had it all
                if await self._erasing.begin_rewrite():
                    break
        except StoreUnavailable as error:
            if not is_forbidden(error):
                raise
            return f"the append-only file holds what was erased until Redis rewrites it: {error.detail}"[:500]
        await self._until(erasure, stop, self._rewrites_nothing)
        return (
            "" if await self._erasing.has_rewritten() else "Redis could not rewrite its append-only file: see its log"
        )

    async def _rewrites_nothing(self) -> bool:
        return not await self._erasing.is_rewriting()

    async def _until(
        self, erasure: Erasure, stop: asyncio.Event, condition: Callable[[], Coroutine[Any, Any, bool]]
    ) -> None:
        while not await condition():
            await self._store.keep(erasure)
            await self._pause(stop, _REWRITE_LOOK_S)

    async def _sum(self, erasure: Erasure, counts: AsyncIterator[int], stop: asyncio.Event) -> int:
        total = 0
        async for count in counts:
            total += count
            self._liveness.moved(LOOP)
            await self._store.keep(erasure)
            if stop.is_set():
                raise _Stopped
        return total

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        if await self._liveness.wait(LOOP, stop, max(_LEAST_PAUSE_S, seconds)):
            raise _Stopped

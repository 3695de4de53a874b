"""Delivering callbacks: each at least once, or for a day in vain, after which it is a dead letter.

All persisters share the outbox. A slow receiver has at most a few tries under way, and holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from datetime import timedelta

from persister.outbox import Due, Outbox
from persister.webhook_sender import WITHIN_S, Undelivered, WebhookSender
from shared.contract.errors import StoreUnavailable
from shared.service.backoff import Backoff
from shared.service.lifecycle import cancel_until_ended
from shared.service.liveness import Liveness
from shared.streams.dead_letters import OF_CALLBACKS
from shared.streams.result_stream import ResultStream
from shared.telemetry.metrics import DEAD_LETTERS, ERRORS, WEBHOOKS

log = logging.getLogger(__name__)

LOOP = "webhooks"
LOOK_EVERY_S = 1.0
STOP_WITHIN_S = 2.0
MOST_AT_ONCE, MOST_OF_A_HOST = 32, 4
TRIED_FOR = timedelta(days=1)
PAUSES_S = (5, 30, 120, 600, 1800, 3600, 7200, 14_400)
_LEASE = timedelta(seconds=6 * WITHIN_S)
UNDELIVERED = "webhook_undelivered"


def pause_after(tries: int, jitter: float) -> timedelta:
    """How long to wait after so many tries.

    Args:
        jitter: 0 to 1; what is due together is not tried together for ever.
    """
    return timedelta(seconds=PAUSES_S[min(tries, len(PAUSES_S)) - 1] * (0.75 + 0.5 * jitter))


class Webhooks:
    """Delivers what is due."""

    def __init__(self, outbox: Outbox, sender: WebhookSender, stream: ResultStream, liveness: Liveness) -> None:
        self._outbox, self._sender, self._stream, self._liveness = outbox, sender, stream, liveness
        self._under_way: dict[asyncio.Task[None], str] = {}  # the host of each

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set; what does not end soon after that is tried again by another persister."""
        backoff = Backoff()
        try:
            while not await self._liveness.wait(LOOP, stop, LOOK_EVERY_S):
                try:
                    while not stop.is_set() and await self._begin_some():
                        await self._one_ended()
                    backoff.succeeded()
                except StoreUnavailable as error:
                    ERRORS.labels("persister", "webhooks").inc()
                    log.warning("callbacks interrupted", extra={"store": error.store, "detail": str(error)})
                    with self._liveness.moving(LOOP):
                        await backoff.pause(stop)
        finally:
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=STOP_WITHIN_S)
            await cancel_until_ended(list(self._under_way))
            await self._sender.close()

    async def _begin_some(self) -> bool:
        """Begin what is due and has room; returns whether something was."""
        self._liveness.moved(LOOP)
        room = min(MOST_AT_ONCE - len(self._under_way), MOST_OF_A_HOST)
        if room <= 0:
            return True
        busy = [host for host, count in Counter(self._under_way.values()).items() if count >= MOST_OF_A_HOST]
        due = await self._outbox.take(room, busy, _LEASE)
        for each in due:
            task = asyncio.create_task(self._deliver(each), name=f"callback {each.id}")
            self._under_way[task] = each.host
            task.add_done_callback(self._under_way.pop)
        return bool(due)

    async def _one_ended(self) -> None:
        """Wait until there is room for another."""
        while len(self._under_way) >= MOST_AT_ONCE:
            self._liveness.moved(LOOP)
            await asyncio.wait(self._under_way, timeout=1, return_when=asyncio.FIRST_COMPLETED)

    async def _deliver(self, due: Due) -> None:
        try:
            await self._try(due)
        except StoreUnavailable as error:  # it is tried again once its lease has ended
            ERRORS.labels("persister", "webhooks").inc()
            log.warning("callback not noted", extra={"prediction_id": due.prediction_id, "detail": str(error)})

    async def _try(self, due: Due) -> None:
        if due.body is None:  # it was erased, or is too old
            await self._outbox.delete(due)
            return
        try:
            await self._sender.send(due.url, due.id, due.body)
        except Undelivered as error:
            await self._failed(due, error)
            return
        await self._outbox.delete(due)
        WEBHOOKS.labels("delivered").inc()

    async def _failed(self, due: Due, error: Undelivered) -> None:
        facts = {"prediction_id": due.prediction_id, "host": due.host, "tries": due.tries, "detail": error.detail}
        if error.is_final or due.age >= TRIED_FOR:
            told = f"the callback of {due.prediction_id} to {due.host} was given up: {error.detail}"
            await self._stream.dead_callback(due.prediction_id, due.attempt, (due.model, due.version), due.tries, told)
            await self._outbox.give_up(due, str(error))
            WEBHOOKS.labels("given_up").inc()
            DEAD_LETTERS.labels(OF_CALLBACKS, UNDELIVERED).inc()
            log.error("callback given up", extra=facts)
            return
        await self._outbox.later(due, pause_after(due.tries, random.random()), str(error))
        WEBHOOKS.labels("failed").inc()
        log.warning("callback failed", extra=facts)

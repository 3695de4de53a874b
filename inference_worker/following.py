"""Serving what is selected, as it changes: versions are loaded and given up while the others go on.

The registry in Redis is looked at twice a second; while that is not possible, what is known goes on. A version that was
made inactive is served until nothing has waited for it for `QUIET_S`: by then every gateway has followed too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import NamedTuple

from inference_worker.versions import ServedVersions
from shared.contract.catalogue import ServedVersion
from shared.contract.errors import MalformedMessage, StoreUnavailable
from shared.contract.live_catalogue import LiveCatalogue
from shared.contract.selection import Selection
from shared.service.lifecycle import cancel_until_ended
from shared.service.liveness import Liveness
from shared.streams.known_streams import KnownStreams
from shared.streams.model_registry import FOLLOW_EVERY_S, ModelRegistry
from shared.telemetry.metrics import ERRORS

log = logging.getLogger(__name__)

LOOP = "models"
QUIET_S = 5.0


class _Serving(NamedTuple):
    """A version that is served: with what, by which task, and what ends that."""

    served: ServedVersion
    task: asyncio.Task[None]
    stop: asyncio.Event


class Following:
    """What one worker serves, now and later."""

    def __init__(
        self,
        versions: ServedVersions,
        catalogue: LiveCatalogue,
        selection: Selection,
        registry: ModelRegistry,
        streams: KnownStreams,
        liveness: Liveness,
    ) -> None:
        self._versions, self._catalogue, self._selection = versions, catalogue, selection
        self._registry, self._streams, self._liveness = registry, streams, liveness
        self._serving: dict[str, _Serving] = {}
        self._last_wanted: dict[str, float] = {}

    async def look(self) -> bool:
        """Look at the registry, and decide what is to be served; returns whether Redis has answered."""
        try:
            registry = await self._registry.newer_than(self._catalogue.registry.epoch)
            if registry is not None:
                self._catalogue.follow(registry)
                log.info("models changed", extra={"epoch": registry.epoch})
            wanted = await self._find_wanted()
        except StoreUnavailable as error:
            ERRORS.labels("inference_worker", f"{error.store}_{error.reason}").inc()
            if not self._last_wanted:  # what the file says is loaded meanwhile
                self._want({each.label: each for each in self._selection.of(self._catalogue.served())})
            return False
        except MalformedMessage as error:
            ERRORS.labels("inference_worker", error.reason).inc()
            log.error("models not followed", extra={"detail": str(error)})
            return True
        self._want(wanted)
        return True

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set.

        Raises:
            ConfigurationError: a version of the catalogue file cannot be loaded, and nothing else can either, or
                `WORKER_STRICT` is set.
        """
        try:
            while not stop.is_set():
                self._liveness.moved(LOOP)
                self._start_wanted(stop)
                await self._wait(stop)
                self._forget_ended(stop)
                await self.look()
                self._end_unwanted()
            with self._liveness.moving(LOOP):
                await asyncio.gather(*(each.task for each in self._serving.values()))
        finally:
            await cancel_until_ended([each.task for each in self._serving.values()])

    async def _find_wanted(self) -> Mapping[str, ServedVersion]:
        wanted = {each.label: each for each in self._selection.of(self._catalogue.served())}
        leaving = self._selection.of(tuple(self._catalogue.leaving.values()))
        if leaving:
            with_entries = await self._streams.with_entries()
            wanted |= {each.label: each for each in leaving if each.label in with_entries}
        return wanted

    def _want(self, wanted: Mapping[str, ServedVersion]) -> None:
        self._versions.want(wanted)
        self._last_wanted |= dict.fromkeys(wanted, time.monotonic())

    def _start_wanted(self, stop: asyncio.Event) -> None:
        for label, served in self._versions.wanted.items():
            if label not in self._serving:
                own_stop = asyncio.Event()
                serving = self._versions.serve(served, stop, own_stop)
                self._serving[label] = _Serving(served, asyncio.create_task(serving, name=f"serve {label}"), own_stop)

    def _end_unwanted(self) -> None:
        """End what has not been wanted for a while, and at once what is to be served otherwise."""
        now, wanted = time.monotonic(), self._versions.wanted
        for label, serving in self._serving.items():
            other = label in wanted and not _same(wanted[label], serving.served)
            if (other or now - self._last_wanted.get(label, now) > QUIET_S) and not serving.stop.is_set():
                log.info("version given up", extra={"model": label})
                serving.stop.set()

    async def _wait(self, stop: asyncio.Event) -> None:
        """Wait until it is time to look again, or a version is not served any more."""
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            waiting = {stopping, *(each.task for each in self._serving.values())}
            await asyncio.wait(waiting, timeout=FOLLOW_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_until_ended([stopping])

    def _forget_ended(self, stop: asyncio.Event) -> None:
        """Forget what has ended as it was told to.

        Raises:
            Exception: what one of them has failed with.
        """
        for label, serving in list(self._serving.items()):
            if serving.task.done() and not stop.is_set():
                serving.task.result()
                del self._serving[label]
                self._last_wanted.pop(label, None)


def _same(one: ServedVersion, other: ServedVersion) -> bool:
    """Whether two are served in the same way."""
    return _as_served(one) == _as_served(other)


def _as_served(served: ServedVersion) -> ServedVersion:
    version = served.version.model_copy(update={"active": True, "default": False})
    return served.model_copy(update={"version": version})

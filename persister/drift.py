"""Which model got worse: how far each version's newest predictions have moved from its first ones.

Labels and confidence are all that can be watched without knowing the right answers. A shift does not prove that a model
is wrong; it says that the model sees different texts, or answers them differently, from when it was new.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from persister.database import Database, Distribution
from persister.psi import psi
from shared.contract.errors import StoreUnavailable
from shared.service.liveness import Liveness
from shared.streams.drift_board import DriftBoard
from shared.telemetry.metrics import DRIFT_PSI, ERRORS

log = logging.getLogger(__name__)

MOST_VERSIONS = 200  # each has two series, and costs two queries an interval
Name = tuple[str, str]


def signals(reference: Distribution, newest: Distribution, window: int) -> Mapping[str, float]:
    """The index of each signal that the version has; none until it has as many predictions as the window holds.

    The two windows overlap until there are twice as many.
    """
    if reference.confidence.total() < window or newest.confidence.total() < window:
        return {}
    found = {}
    if set(reference.confidence) != {0}:
        found["confidence"] = psi(reference.confidence, newest.confidence)
    if set(reference.labels) != {""}:
        found["label"] = psi(reference.labels, newest.labels)
    return found


class DriftWatch:
    """Measures drift of the active versions at intervals: of the newest `MOST_VERSIONS`, if there are more."""

    def __init__(
        self, database: Database, board: DriftBoard, window: int, interval_s: float, liveness: Liveness
    ) -> None:
        self._board = board
        self._liveness = liveness
        self._database = database
        self._window = window
        self._interval_s = interval_s
        self._references: dict[Name, Distribution] = {}
        self._shown: dict[Name, set[str]] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Measure until `stop` is set, as the loop "drift"."""
        while not stop.is_set():
            try:
                await self.measure_all()
            except StoreUnavailable:
                ERRORS.labels("persister", "drift").inc()
            await self._liveness.wait("drift", stop, self._interval_s)

    async def measure_all(self) -> None:
        """Measure each active version, and forget those that are active no more.

        Raises:
            StoreUnavailable: Postgres or Redis cannot be reached.
        """
        active = await self._database.active_versions(MOST_VERSIONS)
        for name in (self._references.keys() | self._shown.keys()) - set(active):
            self._forget(name)
        for name in active:
            self._liveness.moved("drift")
            await self.measure(name)

    async def measure(self, name: Name) -> Mapping[str, float]:
        """Measure one version, set its gauges and tell gateways; returns the index of each signal.

        Raises:
            StoreUnavailable: Postgres or Redis cannot be reached.
        """
        reference = self._references.get(name)
        if reference is None:
            reference = await self._database.distribution(*name, self._window, newest=False)
            if reference.confidence.total() == self._window:
                self._references[name] = reference
        newest = await self._database.distribution(*name, self._window, newest=True)
        found = signals(reference, newest, self._window)
        for signal, index in found.items():
            DRIFT_PSI.labels(*name, signal).set(index)
            self._shown.setdefault(name, set()).add(signal)
        if found:
            await self._board.tell(":".join(name), found, self._interval_s)
        return found

    def _forget(self, name: Name) -> None:
        self._references.pop(name, None)
        for signal in self._shown.pop(name, set()):
            DRIFT_PSI.remove(*name, signal)

"""Which model got worse: how far each version's newest predictions have moved from its first ones.

Labels and confidence are all that can be watched without knowing the right answers. A shift does not prove that a model
is wrong; it says that the model sees different texts, or answers them differently, from when it was new.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from persister.database import Database, Distribution
from persister.psi import psi
from shared.contract.catalogue import ServedVersion
from shared.contract.errors import StoreUnavailable
from shared.service.liveness import Liveness
from shared.telemetry.metrics import DRIFT_PSI, ERRORS

log = logging.getLogger(__name__)


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
    """Measures drift at intervals."""

    def __init__(
        self, database: Database, versions: Sequence[ServedVersion], window: int, interval_s: float, liveness: Liveness
    ) -> None:
        self._liveness = liveness
        self._database = database
        self._versions = versions
        self._window = window
        self._interval_s = interval_s
        self._references: dict[str, Distribution] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Measure until `stop` is set, as the loop "drift"."""
        while not stop.is_set():
            try:
                for served in self._versions:
                    self._liveness.moved("drift")
                    await self.measure(served)
            except StoreUnavailable:
                ERRORS.labels("persister", "drift").inc()
            await self._liveness.wait("drift", stop, self._interval_s)

    async def measure(self, served: ServedVersion) -> Mapping[str, float]:
        """Measure one version and set its gauges; returns the index of each signal.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        name = (served.model, served.version.version)
        reference = self._references.get(served.label)
        if reference is None:
            reference = await self._database.distribution(*name, self._window, newest=False)
            if reference.confidence.total() == self._window:
                self._references[served.label] = reference
        newest = await self._database.distribution(*name, self._window, newest=True)
        found = signals(reference, newest, self._window)
        for signal, index in found.items():
            DRIFT_PSI.labels(*name, signal).set(index)
        return found

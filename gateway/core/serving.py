"""Which versions nobody serves, so that who submits to one is told at once."""

from __future__ import annotations

from collections.abc import Sequence

from shared.contract.catalogue import ServedVersion
from shared.streams.workers import WorkerDirectory

LOOK_FOR_WORKERS_EVERY_S = 2.0


class Serving:
    """What the last look at the live workers has shown."""

    def __init__(self, workers: WorkerDirectory, versions: Sequence[ServedVersion]) -> None:
        self._workers = workers
        self._versions = versions
        self._known = frozenset(each.label for each in versions)
        self._unserved: frozenset[str] = frozenset()  # nothing is said before the first look

    async def look(self) -> None:
        """Look at the live workers.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        live = await self._workers.live(self._versions)
        self._unserved = frozenset(label for label, workers in live.items() if not workers)

    def note(self, label: str) -> str:
        """Why a request for the version `label` (`model:version`) will not finish soon; empty if it can."""
        if label not in self._known:
            return f"{label} is not in the catalogue any more: it ends `expired` at its deadline"
        if label in self._unserved:
            return f"no live worker serves {label} now: it waits until one does, or ends `expired` at its deadline"
        return ""

"""Which versions nobody serves, so that who submits to one is told at once; and what requests have cost lately.

While somebody asks for them, also all workers as they are, which consoles show.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from shared.contract.costs import Cost
from shared.contract.live_catalogue import LiveCatalogue
from shared.streams.workers import Worker, WorkerDirectory

LOOK_FOR_WORKERS_EVERY_S = 2.0
_ASKED_FOR_S = 3 * LOOK_FOR_WORKERS_EVERY_S


class Serving:
    """What the last look at the live workers has shown."""

    def __init__(self, workers: WorkerDirectory, catalogue: LiveCatalogue) -> None:
        self._workers = workers
        self._catalogue = catalogue
        self._costs: dict[str, Cost] = {}
        self._fingerprints: dict[str, str] = {}
        self._unserved: frozenset[str] = frozenset()  # nothing is said before the first look
        self._asked_until = 0.0  # for the workers themselves
        self._live: tuple[float, Sequence[Worker]] = 0.0, ()  # as they were found, and until when that is said

    async def look(self) -> None:
        """Look at the live workers.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        now = time.monotonic()
        told = await self._workers.look(self._catalogue.served(), detailed=now < self._asked_until)
        if told.all is not None:
            self._live = now + 1.5 * LOOK_FOR_WORKERS_EVERY_S, told.all
        self._fingerprints = told.fingerprints
        self._costs |= told.costs  # what nobody serves now costs what it did
        self._unserved = frozenset(label for label, workers in told.workers.items() if not workers)

    async def live_workers(self) -> Sequence[Worker]:
        """All live workers, also those that are still loading: of the last look, unless that is too old.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        now = time.monotonic()
        self._asked_until = now + _ASKED_FOR_S
        if now >= self._live[0]:
            await self.look()
        return self._live[1]

    def estimate_us(self, label: str, characters: int) -> int:
        """What a text of so many characters may cost, in microseconds of compute; 0 before anything was measured."""
        cost = self._costs.get(label)
        return 0 if cost is None else round(characters * cost.tokens_a_character * cost.us_a_token)

    def fingerprint(self, label: str) -> str:
        """What all workers of a version say of its artifact and code; empty if they do not agree, or do not say."""
        return self._fingerprints.get(label, "")

    def note(self, label: str) -> str:
        """Why a request for the version `label` (`model:version`) will not finish soon; empty if it can."""
        if label in self._catalogue.leaving:
            return f"{label} is being taken out of service: its workers still compute what waits"
        if not self._catalogue.serves(label):
            return f"{label} is not in the catalogue any more: it ends `expired` at its deadline"
        if label in self._unserved:
            return f"no live worker serves {label} now: it waits until one does, or ends `expired` at its deadline"
        return ""

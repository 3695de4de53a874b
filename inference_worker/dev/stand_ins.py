"""What stands in the place of the stores: each class overrides those methods of its base that are used here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from uuid import UUID

from gateway.control.registry.following import FollowedRegistry
from gateway.core.finished import Finished, from_result
from gateway.core.history import NEWEST, Filters, History
from gateway.core.principal import ANYBODY, Principal
from gateway.core.unfinished import Unfinished
from gateway.http.problems import ProblemError
from gateway.upkeep.feed import MOST_FINISHED, Look, QueueLook
from inference_worker.dev.memory import Memory
from inference_worker.lane import Lane
from shared.contract.catalogue import ServedVersion
from shared.contract.hints import Hint
from shared.contract.messages import Outcome, PredictionResult, Status
from shared.contract.progress import Progress
from shared.contract.queues import Priority, Queue, queues_of
from shared.contract.schemas import Schemas
from shared.contract.version_states import State as WorkerState
from shared.contract.version_states import VersionState
from shared.streams.drift_board import DriftBoard
from shared.streams.preconditions import Finding, Level
from shared.streams.prediction_state import ANY_BYTES, PredictionStates, State
from shared.streams.publishing import Group, Published, Publisher
from shared.streams.redis_watch import RedisWatch
from shared.streams.request_stream import Completed, Delivery, Read
from shared.streams.version_streams import Counts, VersionStreams
from shared.streams.waiting import Page, Wanted
from shared.streams.workers import LiveWorkers, Worker, WorkerDirectory

_QUIET_S = 1.0


class LocalPublisher(Publisher):
    """Publishes into memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def publish(
        self, model: str, version: str, groups: Sequence[Group], priority: Priority = Priority.INTERACTIVE
    ) -> list[Published]:
        """Accept groups, each as a whole."""
        return [self._memory.accept(Queue(model, version, priority), each) for each in groups]


class LocalStates(PredictionStates):
    """The states in memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def look(self, prediction_id: str, *, wait: bool = False) -> State:
        """The state, or None if there is none (any more)."""
        return self._memory.states.get(prediction_id)

    async def look_all(
        self, prediction_ids: Sequence[str], placed: Collection[str] = (), most_bytes: int = ANY_BYTES
    ) -> dict[str, State]:
        """The states of several predictions, by their ids."""
        return {each: self._memory.states.get(each) for each in prediction_ids}

    async def listen(self, prediction_id: str) -> None:
        """Nothing: everybody listens."""

    async def hints(self) -> AsyncIterator[list[Hint] | None]:
        """Hints as they come; None at first and whenever none comes for a while."""
        yield None
        while True:
            try:
                hint = await asyncio.wait_for(self._memory.hints.get(), _QUIET_S)
            except TimeoutError:
                yield None
            else:
                yield [hint]


class LocalHistory(History):
    """The predictions in memory: there is no other."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def find(self, prediction_ids: Sequence[str]) -> dict[str, Finished]:
        """None: what is not in memory is forgotten."""
        return {}

    async def page(self, filters: Filters, before: UUID, limit: int) -> list[Finished]:
        """Finished predictions with ids below `before`, newest first."""
        finished = [each for each in self._memory.states.values() if isinstance(each, PredictionResult)]
        found = [
            from_result(each)._replace(given=None)  # as of the history
            for each in sorted(finished, key=lambda each: each.id, reverse=True)
            if each.id < str(before)
            and filters.model in (None, each.model)
            and filters.version in (None, each.version)
            and filters.status in (None, each.outcome.status)
        ]
        return found[:limit]


class LocalStreams(VersionStreams):
    """The streams of the one version, for its lane."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def join(self) -> None:
        """Nothing: there is one lane at a time."""

    async def leave(self) -> bool:
        """Nothing."""
        return True

    async def read(self, counts: Counts, block_ms: int) -> Read:
        """What waits."""
        return await self._memory.take(counts, block_ms)

    async def tell(self, progress: Mapping[str, Progress]) -> bool:
        """Tell how far predictions are."""
        for prediction_id, told in progress.items():
            self._memory.hints.put_nowait(Hint(prediction_id, progress=told))
        return True

    async def has_abandoned(self, visibility_timeout_ms: int) -> bool:
        """Never: whoever could abandon an entry is this process."""
        return False

    async def lost(self, entries: Sequence[str]) -> set[str]:
        """None: there is nobody else."""
        return set()

    async def renew(self, entries: Sequence[str]) -> int:
        """Nothing: nobody else claims them."""
        return len(entries)

    async def release(self, entries: Sequence[str], visibility_timeout_ms: int) -> int:
        """Let entries wait again."""
        return self._memory.give_back(entries)

    async def count_delivery(self, entry: str) -> int:
        """Count another delivery."""
        return self._memory.count_delivery(entry)

    async def complete(self, finished: Sequence[Completed]) -> list[bool]:
        """Keep outcomes; returns for each whether it is the first."""
        return [self._memory.end(each.delivery.entry, each.outcome) for each in finished]

    async def dead_letter(self, delivery: Delivery, reason: str, error: str) -> bool:
        """Let a request fail; there are no dead letters."""
        return self._memory.end(delivery.entry, Outcome(Status.FAILED, error=error))


class OneWorker(WorkerDirectory):
    """The lane of this process.

    Attributes:
        lane: that serves the version; None while there is none.
        failure: why the version cannot be loaded; empty if it can.
    """

    def __init__(self) -> None:
        self.lane: Lane | None = None
        self.failure = ""
        self._started_at = time.time_ns() // 1_000_000

    def all(self) -> list[Worker]:
        """This process, as a worker."""
        if self.lane is None:
            return []
        label = self.lane.served.label
        return [Worker("dev", "", self._started_at, 0, [label], {label: VersionState(WorkerState.READY)})]

    async def live(self, versions: Sequence[ServedVersion]) -> dict[str, int]:
        """One for the version if it is served."""
        return {each.label: int(self.lane is not None) for each in versions}

    async def look(self, versions: Sequence[ServedVersion], *, detailed: bool = False) -> LiveWorkers:
        """The same, without costs: nobody has limits."""
        return LiveWorkers(await self.live(versions), {}, {}, self.all() if detailed else None)

    async def schemas(self) -> dict[str, Schemas]:
        """What the version takes and gives."""
        return {} if self.lane is None else {self.lane.served.label: self.lane.schemas}

    async def states(self) -> dict[str, dict[str, VersionState]]:
        """None: that is for who runs a deployment."""
        return {}

    async def load_errors(self, versions: Sequence[ServedVersion]) -> dict[str, str]:
        """Why the version cannot be loaded."""
        return {each.label: self.failure for each in versions if self.failure}


class LocalLooking:
    """What consoles watch, in memory."""

    def __init__(self, memory: Memory, served: ServedVersion, worker: OneWorker, history: History) -> None:
        self._memory, self._served, self._worker, self._history = memory, served, worker, history

    async def look(self, _: Look | None) -> Look:
        """The two queues of the version, its worker, and what has finished last."""
        workers = self._worker.all()
        queues = [
            QueueLook(each, self._memory.depth(each.priority), len(workers))
            for each in queues_of(self._served.model, self._served.version.version)
        ]
        newest = await self._history.page(Filters(ANYBODY), NEWEST, MOST_FINISHED)
        return Look(queues, 0, 0, workers, newest, {})


class Unfollowed(FollowedRegistry):
    """The catalogue stays as it is."""

    def __init__(self) -> None:
        self.looked = True


class NoDrift(DriftBoard):
    """Nobody measures it."""

    def __init__(self) -> None:
        pass

    async def read(self, labels: Sequence[str]) -> dict[str, bytes]:
        """None."""
        return {}


class NoUnfinished(Unfinished):
    """Here they are found by their ids alone."""

    def __init__(self) -> None:
        pass

    async def page(self, caller: Principal, model: str | None, version: str | None, wanted: Wanted, limit: int) -> Page:
        """Raises:
        ProblemError: 501, always.
        """
        raise needs_a_stack()


def needs_a_stack() -> ProblemError:
    """What is answered to whatever is more than trying a model."""
    detail = "this is one process for trying a model, without stores: `make up` starts all of Millstream"
    return ProblemError(501, "needs-a-stack", detail)


class NoRedis(RedisWatch):
    """Nothing is wrong with what is not there."""

    def __init__(self) -> None:
        self.findings: Sequence[Finding] = ()

    async def require(self) -> None:
        """Nothing is required."""

    def worst(self, least: Level) -> Finding | None:
        """None."""
        return None

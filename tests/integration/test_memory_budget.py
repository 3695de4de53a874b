"""A worker's memory is divided among its versions: real children that have real memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from multiprocessing import active_children
from typing import Any

import pytest

from inference_worker import memory
from inference_worker.memory import MB, Idle, to_unload
from inference_worker.settings import WorkerSettings
from inference_worker.versions import ServedVersions
from shared.contract.catalogue import ServedVersion, Version
from shared.contract.errors import ConfigurationError
from shared.contract.keys import Keys
from shared.service.catalogue_file import load_catalogue
from shared.service.liveness import Liveness
from shared.streams.publishing import Group, Publisher
from shared.streams.shard import open_shard
from shared.telemetry.metrics import REGISTRY
from tests.access import redis_url_of, shard_of
from tests.streams import ACCEPTED, LIMITS, Redis, new_request, results
from tests.waiting import eventually

BUDGET_MB = 170  # for two children of 50 MB, each with Python and what it imports, and not for three
Ask = Callable[..., Any]


def heavy(version: str, megabytes: int = 50) -> ServedVersion:
    """A version with so much memory."""
    made = Version(version=version, artifact=str(megabytes), processes=1)
    return ServedVersion(model="heavy", task="tests.fixtures.tasks:Heavy", version=made)


class Worker:
    """What a worker serves, with a task for each version, as `inference_worker.following` has them."""

    def __init__(self, versions: ServedVersions) -> None:
        self.versions = versions
        self.stop = asyncio.Event()
        self._serving: list[asyncio.Task[None]] = []

    def serve(self, *wanted: ServedVersion) -> None:
        self.versions.want(self.versions.wanted | {each.label: each for each in wanted})  # type: ignore[operator]
        self._serving += [asyncio.create_task(self.versions.serve(each, self.stop, self.stop)) for each in wanted]

    async def end(self) -> None:
        self.stop.set()
        await asyncio.gather(*self._serving)

    def states(self) -> str:
        """How far it is with each version, in the order of their names."""
        return " ".join(self.versions.states[label].state for label in sorted(self.versions.states))

    async def reach(self, states: str) -> None:
        def reached() -> bool:
            for each in self._serving:
                if each.done():
                    each.result()
            return self.states() == states

        await eventually(reached, f"{states}, not {self.states()}", 60)

    def reason(self, version: str) -> str:
        return self.versions.states[f"heavy:{version}"].reason

    def memory_mb(self) -> float:
        return sum(lane.memory_bytes() for lane in self.versions.lanes) / MB


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that does not wait long before it looks again."""
    monkeypatch.setattr(memory, "LOOK_EVERY_S", 0.1)


@pytest.fixture
async def ask(redis: Redis, keys: Keys) -> Ask:
    """Have a request wait for a version."""
    publisher = Publisher(shard_of("gateway", redis, keys), "gw", LIMITS)

    async def publish(version: str, text: str = "hello", timeout_ms: int = 60_000) -> None:
        groups = [Group([new_request(text, timeout_ms=timeout_ms)])]
        assert await publisher.publish("heavy", version, groups) == [ACCEPTED]

    return publish


@asynccontextmanager
async def working(environment: dict[str, str], *wanted: ServedVersion, **changes: Any) -> AsyncIterator[Worker]:
    """A worker with a budget that serves these versions."""
    values: dict[str, Any] = {name.lower(): value for name, value in environment.items()}
    values["redis_url"] = redis_url_of("inference_worker", values["redis_url"])
    settings = WorkerSettings(**values | {"worker_memory_mb": BUDGET_MB, "read_block_ms": 50} | changes)
    shard = open_shard(settings)
    worker = Worker(ServedVersions(settings, load_catalogue(settings.model_catalogue), shard, Liveness(30), "w", None))
    watching = asyncio.create_task(worker.versions.redis.run(worker.stop))
    worker.serve(*wanted)
    try:
        yield worker
    finally:
        try:
            await worker.end()
        finally:
            await watching
            await shard.close()


def sample(name: str, version: str) -> float:
    return REGISTRY.get_sample_value(name, {"model": "heavy", "version": version}) or 0


@pytest.mark.parametrize(
    ("idle", "excess", "chosen"),
    [
        ([], 1, None),
        ([("a", 5, 2.0), ("b", 5, 1.0), ("c", 5, 3.0)], 5, ["b"]),
        ([("a", 5, 2.0), ("b", 5, 1.0), ("c", 5, 3.0)], 6, ["b", "a"]),
        ([("a", 5, 2.0), ("b", 5, 1.0)], 10, ["b", "a"]),
        ([("a", 5, 2.0), ("b", 5, 1.0)], 11, None),
        ([("a", 5, 2.0)], 0, []),
    ],
)
def test_those_used_least_recently_go_as_many_as_it_takes(
    idle: Sequence[tuple[str, int, float]], excess: int, chosen: list[str] | None
) -> None:
    assert to_unload([Idle(*each) for each in idle], excess) == chosen


async def test_what_is_asked_for_takes_the_place_of_the_least_recently_used(
    environment: dict[str, str], redis: Redis, keys: Keys, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(environment, heavy("1"), heavy("2"), heavy("3")) as worker:
        await worker.reach("ready ready unloaded")
        assert worker.versions.not_ready() is None and worker.memory_mb() <= BUDGET_MB
        assert sample("millstream_model_memory_bytes", "1") > 50 * MB
        await ask("1")
        await eventually(lambda: results(redis, keys), "a result")

        await ask("3")
        await worker.reach("ready ready waiting_for_memory")
        assert "loaded less than 30 s ago" in worker.reason("3") and "WORKER_MEMORY_MB=170" in worker.reason("3")
        assert sample("millstream_model_waiting_for_memory", "3") == 1

        unloaded = sample("millstream_model_unloads_total", "2")
        monkeypatch.setattr(memory, "STAYS_S", 0.0)
        await worker.reach("ready unloaded ready")
        assert sample("millstream_model_unloads_total", "2") == unloaded + 1
        assert sample("millstream_model_waiting_for_memory", "3") == 0
        assert sample("millstream_model_memory_bytes", "2") == 0
        await ask("2")
        await worker.reach("unloaded ready ready")  # 1 was used before 3
        assert worker.memory_mb() <= BUDGET_MB

        async def all_answered() -> bool:
            return len(await results(redis, keys)) == 3

        await eventually(all_answered, "every request is answered")
        assert not await redis.exists(keys.backlog_bytes)


async def test_nothing_with_work_is_unloaded_and_who_waits_in_vain_says_so(
    environment: dict[str, str], redis: Redis, keys: Keys, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "STAYS_S", 0.0)
    async with working(environment, heavy("1"), heavy("2"), heavy("3")) as worker:
        await worker.reach("ready ready unloaded")
        for version in ("1", "2"):
            await ask(version, "slow")
        await ask("3")
        await worker.reach("ready ready waiting_for_memory")
        assert "versions that have work" in worker.reason("3")
        await worker.reach("unloaded ready ready")

        async def all_answered() -> bool:
            return len(await results(redis, keys)) == 3

        await eventually(all_answered, "every request is answered")
    assert {each[b"status"] for each in await results(redis, keys)} == {b"succeeded"}


async def test_what_comes_later_is_loaded_once_though_nobody_has_asked(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with working(environment, heavy("1"), heavy("2")) as worker:
        await worker.reach("ready ready")
        worker.serve(heavy("3"))
        await worker.reach("ready ready waiting_for_memory")
        monkeypatch.setattr(memory, "STAYS_S", 0.0)
        await worker.reach("unloaded ready ready")


async def test_a_version_that_alone_is_too_large_fails_in_words_and_its_processes_are_gone(
    environment: dict[str, str], ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "STAYS_S", 0.0)
    async with working(environment, heavy("1"), heavy("2", 400)) as worker:
        await worker.reach("ready unloaded")
        await ask("2")
        await worker.reach("unloaded failed")
        assert "needs at least" in worker.reason("2") and "WORKER_MEMORY_MB=170 is for all" in worker.reason("2")
        await eventually(lambda: not active_children(), "its processes are gone")
        await ask("1")
        await worker.reach("ready failed")


async def test_a_worker_whose_only_version_is_too_large_ends_and_says_what_to_set(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="raise it, or leave heavy:2 to another worker"):
        async with working(environment, heavy("2", 400)) as worker:
            await worker.reach("failed")


async def test_a_version_whose_requests_end_elsewhere_waits_no_more(
    environment: dict[str, str], redis: Redis, keys: Keys, ask: Ask
) -> None:
    async with working(environment, heavy("1"), heavy("2"), heavy("3")) as worker:
        await worker.reach("ready ready unloaded")
        await ask("3")
        await worker.reach("ready ready waiting_for_memory")
        await redis.delete(keys.backlog_bytes)
        await worker.reach("ready ready unloaded")


async def test_without_a_budget_all_are_loaded(environment: dict[str, str]) -> None:
    async with working(environment, heavy("1"), heavy("2"), heavy("3"), worker_memory_mb=None) as worker:
        await worker.reach("ready ready ready")
        assert worker.memory_mb() > BUDGET_MB, "or the other tests show nothing"

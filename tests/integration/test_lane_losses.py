"""A lane whose model loses its processes: an item is tried again alone, and what cannot be computed is given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from pydantic import SecretStr

from inference_worker.children.answers import unpacked
from inference_worker.children.process import ChildLost
from inference_worker.children.wire import Answer, Failure, Lone, Prepared
from inference_worker.engine import EngineDown
from inference_worker.lane import Lane
from inference_worker.tasks.protocol import Item
from shared.contract.keys import Keys
from shared.contract.messages import Status
from shared.service.settings import Settings
from shared.streams.redis_client import connect
from tests.access import redis_url_of
from tests.engines import ThreadEngine, computed_alone
from tests.integration.test_lane import Make, Recorder, Running, all_results, make_lane
from tests.streams import MODEL, VERSION, Redis, publish, results
from tests.waiting import eventually


@pytest.fixture
async def make(environment: dict[str, str], keys: Keys) -> AsyncIterator[Make]:
    """Make a lane."""
    url = redis_url_of("inference_worker", environment["REDIS_URL"])
    client = connect(Settings(redis_url=SecretStr(url)))
    yield lambda **changes: make_lane(environment, client, keys, **changes)
    await client.aclose()


class LosesChildren(ThreadEngine):
    """An engine that loses a child over a text in one of its steps, so many times, or breaks down at it."""

    def __init__(self, task: Recorder, step: str, times: int) -> None:
        super().__init__(task)
        self._step, self.left = step, times
        self.down = False

    async def encode(self, items: Sequence[Item]) -> list[Prepared | Failure | ChildLost]:
        answers = await super().encode(items)
        return self._lose("encode", [each.text for each in items], answers)

    async def predict(self, batch: Sequence[Prepared]) -> list[Answer | Failure | ChildLost]:
        if isinstance(batch[0], Lone):
            return await computed_alone(self, batch[0])
        texts = [str(unpacked(each).data) for each in batch]
        return self._lose("predict", texts, await super().predict(batch))

    def _lose(self, step: str, texts: Sequence[str], answers: list[Any]) -> list[Any]:
        if step != self._step or "killer" not in texts or self.left == 0:
            return answers
        if self.down:
            raise EngineDown("no child can be started")
        self.left -= 1
        lost = ChildLost("child_died", "its process was killed")
        return [lost if text == "killer" else answer for text, answer in zip(texts, answers, strict=True)]


def lose_children(make: Make, step: str, times: int, **changes: Any) -> tuple[Lane, Recorder, LosesChildren]:
    """A lane with such an engine."""
    made: list[LosesChildren] = []

    def engine(task: Recorder) -> LosesChildren:
        made.append(LosesChildren(task, step, times))
        return made[0]

    lane, task = make(engine=engine, **changes)
    return lane, task, made[0]


@pytest.mark.parametrize("step", ["encode", "predict"])
async def test_an_item_that_ends_its_child_is_tried_again_alone(
    redis: Redis, keys: Keys, make: Make, step: str
) -> None:
    lane, task, _ = lose_children(make, step, times=2, max_deliveries=3)
    await publish(redis, keys, "a", "killer", "b")
    async with Running(lane):
        computed = await all_results(redis, keys, 3)
        assert {each.outcome.status for each in computed} == {Status.SUCCEEDED}
        await publish(redis, keys, "later")  # its child is free again
        await all_results(redis, keys, 4)
        await eventually(lambda: lane.in_hand == 0, "nothing is in hand")
    assert await redis.xlen(keys.dead) == 0
    assert lane._passes._busy == 0
    if step == "predict":
        assert task.batches[1:3] == [["killer"], ["killer"]]


@pytest.mark.parametrize("step", ["encode", "predict"])
async def test_an_item_that_ends_its_child_each_time_is_given_up_and_its_neighbours_succeed(
    redis: Redis, keys: Keys, make: Make, step: str
) -> None:
    lane, _, engine = lose_children(make, step, times=-1, max_deliveries=3)
    _, killer, _ = await publish(redis, keys, "a", "killer", "b")
    async with Running(lane):
        computed = {each.id: each.outcome for each in await all_results(redis, keys, 3)}
        await publish(redis, keys, "later")
        await all_results(redis, keys, 4)
    assert engine.left == -4  # once, and three times again at most
    assert computed.pop(killer).status is Status.FAILED
    assert {each.status for each in computed.values()} == {Status.SUCCEEDED}
    ((_, letter),) = await redis.xrange(keys.dead)
    assert (letter[b"reason"], letter[b"deliveries"]) == (b"child_died", b"3")
    assert b"given up after 3 deliveries" in letter[b"error"] and b"was killed" in letter[b"error"]


@pytest.mark.parametrize("step", ["encode", "predict"])
async def test_a_lane_whose_engine_breaks_down_gives_everything_back_and_says_so(
    redis: Redis, keys: Keys, make: Make, step: str
) -> None:
    lane, _, engine = lose_children(make, step, times=-1, max_batch_size=1)
    engine.down = True
    await publish(redis, keys, "killer", "b", "c")
    with pytest.raises(EngineDown, match="no child can be started"):
        async with asyncio.timeout(20):
            await lane.run(asyncio.Event())
    assert lane.in_hand == 0
    pending = await redis.xpending_range(keys.requests(MODEL, VERSION), keys.WORKER_GROUP, "-", "+", 10)
    assert pending and {each["times_delivered"] for each in pending} == {0}
    left = await redis.xlen(keys.requests(MODEL, VERSION))
    assert left >= 1 and left + len(await results(redis, keys)) == 3


async def test_an_engine_that_breaks_down_after_the_stop_is_no_error(redis: Redis, keys: Keys, make: Make) -> None:
    lane, task, engine = lose_children(make, "predict", times=-1)
    engine.down = True
    task.go_on.clear()
    await publish(redis, keys, "killer")
    async with Running(lane) as running:  # raises what the lane does
        await eventually(task.computing.is_set, "it computes")
        running.stop.set()
        task.go_on.set()
    pending = await redis.xpending_range(keys.requests(MODEL, VERSION), keys.WORKER_GROUP, "-", "+", 10)
    assert [each["times_delivered"] for each in pending] == [0]

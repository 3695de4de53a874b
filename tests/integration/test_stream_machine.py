"""Everything gateways, workers and persisters can do to the streams, and every place where they can die, in any order.

A step is one command (one script call, which Redis runs as a whole): whoever is between two commands may die there, and
what a dead or stopped one has sent may arrive at any later time. Nothing waits: time passes by setting how long pending
entries have been idle. After each step streams, pending lists, states and every accepted prediction are compared with
what must be there. At the end one new worker and one new persister must bring everything home.

Left out: FLUSHALL (then all is lost, as the documentation says), and a publish that the client library repeats after
its prediction was stored (it is computed again, and the stored row stays).

STREAM_MACHINE_EXAMPLES=2000 makes it a long search, with other examples each time.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from redis.asyncio import Redis

from shared.contract.keys import Keys
from tests.access import running_redis
from tests.integration.stream_actors import VISIBILITY_TIMEOUT_MS, Gateways, Move, Persister, Worker
from tests.integration.stream_truth import Truth
from tests.streams import MODEL, VERSION

pytestmark = pytest.mark.every_server

DEEP = "STREAM_MACHINE_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("STREAM_MACHINE_EXAMPLES", "30"))
STEPS = 80

WHO = st.sampled_from([0, 0, 0, 1, 1, 2])
MOVE = st.builds(
    Move,
    st.lists(st.integers(0, 4), min_size=1, max_size=4),
    st.booleans(),
    st.booleans(),
    st.integers(0, 9).map((3).__eq__),
)


def oftener(**weights: int) -> st.SearchStrategy[str]:
    """One of the names, by weight."""
    return st.sampled_from([name for name, weight in weights.items() for _ in range(weight)])


# A rule each would be plainer, but hypothesis leaves out many rules in each example, and then hardly any prediction
# goes all the way: there is one rule.
ACTOR = oftener(gateway=10, worker=18, dead_worker=8, persister=12, time=7, loss=1)
GATEWAY = oftener(
    publish=5, publish_with_a_key=2, look_for_late_requests=1, expire_late_requests=2, replay_a_dead_letter=4
)
IDLE_WORKER = oftener(read=7, claim=3, leave=1)
BUSY_WORKER = oftener(complete=5, give_up=3, renew=2, give_back=2, read=1, claim=3, leave=1, die=2)
DEAD_WORKER = oftener(complete=2, give_up=1, renew=2, give_back=2)
IDLE_PERSISTER = oftener(read=4, claim=2, leave=1)
BUSY_PERSISTER = oftener(commit=6, read=1, claim=1)
WRITING_PERSISTER = oftener(forget=5, commit=1, read=1)


class StreamMachine(RuleBasedStateMachine):
    """The pipeline without its processes."""

    redis_url: ClassVar[str]
    seen: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis: Any = Redis.from_url(self.redis_url, protocol=2)
        self.truth = Truth(self.redis, Keys(f"machine-{uuid.uuid4().hex}:"))
        self.gateways = Gateways(self.truth)
        self.workers: list[Worker] = []
        self.persisters = [Persister(self.truth, f"persister-{number}") for number in range(3)]

    def run(self, action: Coroutine[Any, Any, None]) -> None:
        """Run one step to its end."""
        self.runner.run(action)

    @rule(actor=ACTOR, who=WHO, move=MOVE, data=st.data())
    def somebody_acts(self, actor: str, who: int, move: Move, data: st.DataObject) -> None:
        """Or something happens to all of them."""
        getattr(self, f"_{actor}")(who, move, data)

    def _gateway(self, _: int, move: Move, data: st.DataObject) -> None:
        """A gateway, or an operator through one."""
        self._act(self.gateways, GATEWAY, move, data)

    def _worker(self, who: int, move: Move, data: st.DataObject) -> None:
        """One of the living; a new one comes when more are asked for than there are."""
        alive = [each for each in self.workers if each.alive]
        if who >= len(alive):
            alive.append(Worker(self.truth, f"worker-{len(self.workers)}"))
            self.workers.append(alive[-1])
            self.run(alive[-1].stream.join())
        worker = alive[min(who, len(alive) - 1)]
        self._act(worker, BUSY_WORKER if worker.held else IDLE_WORKER, move, data)

    def _dead_worker(self, who: int, move: Move, data: st.DataObject) -> None:
        """What it had sent arrives, or it was only stopped, and wakes."""
        dead = [each for each in self.workers if not each.alive and each.held]
        if dead:
            self._act(dead[who % len(dead)], DEAD_WORKER, move, data)

    def _persister(self, who: int, move: Move, data: st.DataObject) -> None:
        """Any of three; one that dies is one that does nothing any more."""
        persister = self.persisters[who]
        busy = BUSY_PERSISTER if persister.held else IDLE_PERSISTER
        self._act(persister, WRITING_PERSISTER if persister.written else busy, move, data)

    def _act(self, actor: object, choice: st.SearchStrategy[str], move: Move, data: st.DataObject) -> None:
        what = data.draw(choice, "what")
        self.seen[what] += 1
        self.run(getattr(actor, what)(move))

    def _time(self, _: int, move: Move, data: st.DataObject) -> None:
        """The visibility timeout passes for all that one group has pending."""
        self.run(self._pass_time(self._stream_of(move)))

    def _loss(self, _: int, move: Move, data: st.DataObject) -> None:
        """A group goes with its pending list, as when Redis is restored from an older copy."""
        self.run(self._lose(self._stream_of(move)))

    @invariant()
    def all_is_as_it_must_be(self) -> None:
        """See Truth.check."""
        before = len(self.truth.outcomes), len(self.truth.postgres)
        self.run(self.truth.check())
        self.seen["steps"] += 1
        self.seen["outcomes"] += len(self.truth.outcomes) - before[0]

    def teardown(self) -> None:
        """Whatever has happened: one worker and one persister, both new, bring it to its end."""
        try:
            self.run(self._drain())
            self.seen["predictions"] += len(self.truth.accepted)
            self.seen["replays"] += sum(self.truth.accepted.values())
            self.seen["deaths"] += sum(not each.alive for each in self.workers)
        finally:
            self.run(self._close())
            self.runner.close()

    def _stream_of(self, move: Move) -> str:
        interactive, batch, results = self.truth.groups
        return results if move.this else batch if move.that else interactive

    async def _pass_time(self, stream: str) -> None:
        group, pending = self.truth.groups[stream]
        for name, claim in pending.items():
            if belongs(name, stream):
                idle, entry = VISIBILITY_TIMEOUT_MS + 1, name.removesuffix("/batch")
                await self.redis.xclaim(stream, group, claim.consumer, 0, [entry], idle=idle, justid=True)
                claim.abandoned = True

    async def _lose(self, stream: str) -> None:
        group, pending = self.truth.groups[stream]
        if await self.redis.exists(stream):
            await self.redis.xgroup_destroy(stream, group)
        for name in [each for each in pending if belongs(each, stream)]:
            del pending[name]

    async def _drain(self) -> None:
        truth, worker, persister = (
            self.truth,
            Worker(self.truth, "last-worker"),
            Persister(self.truth, "last-persister"),
        )
        for stream in truth.groups:
            await self._pass_time(stream)
        everything = Move([0, 1, 2, 3, 4], False, False)
        for _ in range(100):
            if not truth.unfinished and not truth.unstored:
                break
            for what in ("claim", "read", "complete"):
                await getattr(worker, what)(everything)
            await truth.check()
            for what in ("claim", "read", "commit", "forget"):
                await getattr(persister, what)(everything)
            await truth.check()
        assert not truth.unfinished and not truth.unstored, "not everything was brought home"
        assert truth.postgres.keys() == truth.accepted.keys()

    async def _close(self) -> None:
        await self.redis.flushdb()
        await self.redis.aclose()


def belongs(name: str, stream: str) -> bool:
    """Whether what a worker calls by this name is an entry of the stream."""
    return name.endswith("/batch") == stream.endswith("/batch")


@pytest.fixture(scope="module")
def machine_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of the machine's own, which need not outlive anything."""
    with running_redis(tmp_path_factory.mktemp("machine"), appendfsync="no") as server:
        yield server.url


@pytest.mark.timeout(0 if DEEP else 600)
def test_no_order_of_commands_and_deaths_breaks_a_guarantee(machine_redis: str) -> None:
    class Machine(StreamMachine):
        redis_url, seen = machine_redis, Counter()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            phases=[Phase.generate, *([Phase.shrink] if DEEP else [])],  # shrinking takes minutes
            derandomize=not DEEP,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"\n{dict(Machine.seen)}")
    assert Machine.seen["steps"] > 10 * EXAMPLES
    assert (
        min(Machine.seen[what] for what in ("outcomes", "predictions", "replays", "deaths")) > EXAMPLES / 4
    ), Machine.seen


async def test_a_miscounted_byte_is_found(redis: Redis, keys: Keys) -> None:
    truth = Truth(redis, keys)
    gateways = Gateways(truth)
    await gateways.publish(Move([1, 2], False, False))
    await truth.check()
    await redis.hincrby(keys.backlog_bytes, f"{MODEL}:{VERSION}", 1)
    with pytest.raises(AssertionError, match="miscounted"):
        await truth.check()

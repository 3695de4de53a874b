"""A gateway whose Redis falls silent answers its probes, keeps its memory, and is back at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from scripts.stack.redis import RedisServer, running_redis
from tests.chaos.proxy import Mode, Proxy
from tests.chaos.silence import BACK_WITHIN_S, MOST_GROWTH_BYTES, measure
from tests.e2e.conftest import Start
from tests.waiting import eventually

SECONDS = 12  # longer than every limit on Redis's silence; `python -m tests.chaos.silence` has 70, without a proxy
PROBE_WITHIN_S = 1.9  # one that asked Redis would wait for 2 s, as /health does; on a busy machine others take 1 s


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with running_redis(tmp_path / "redis", appendfsync="no") as server:
        yield server


@pytest.fixture
async def network(own_redis: RedisServer) -> AsyncIterator[Proxy]:
    """A network to it."""
    proxy = Proxy(own_redis.port)
    await proxy.start()
    yield proxy
    await proxy.close()


async def test_probes_answer_all_the_while_and_requests_soon_after(start: Start, network: Proxy) -> None:
    gateway = start("gateway", ready=False, REDIS_URL=f"redis://127.0.0.1:{network.port}/0")
    await eventually(lambda: asyncio.to_thread(lambda: gateway.ready), "it is ready", timeout_s=60)
    figures = await measure(gateway, lambda begins: network.set(Mode.BLACKHOLE if begins else Mode.FORWARD), SECONDS)
    assert figures.answers > 0 and figures.slowest_s < PROBE_WITHIN_S
    assert figures.growth_bytes < MOST_GROWTH_BYTES
    assert figures.back_s <= BACK_WITHIN_S

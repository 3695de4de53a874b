"""What open streams of events cost a gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from scripts.stack.ports import free_port
from tests.processes import Service

STREAMS = 300
MOST_BYTES = 20_000  # of each


def resident_bytes(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


async def opened(gateway: Service, count: int) -> int:
    """The bytes that so many streams add."""
    async with ClientSession(gateway.url, connector=TCPConnector(limit=0), timeout=ClientTimeout(60)) as session:
        body = {"model": "echo", "texts": ["hello"] * 10}
        ids: list[str] = []
        for _ in range(count // 10):
            async with session.post("/api/v1/predict/batch?wait=0", json=body) as answer:
                ids += [each["prediction_id"] for each in (await answer.json())["items"]]
        before = resident_bytes(gateway.process.pid)
        answers = await asyncio.gather(*(session.get(f"/api/v1/predictions/{each}/events") for each in ids))
        assert all([b"state" in await each.content.readline() for each in answers])
        await asyncio.sleep(2.5)  # all states are read again
        after = resident_bytes(gateway.process.pid)
        for each in answers:
            each.close()
    return after - before


def test_many_streams_cost_little(environment: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    gateway = Service("gateway", port, {**environment, "GATEWAY_PORT": str(port)}, tmp_path / "gateway.log")
    try:
        gateway.wait_ready()
        asyncio.run(opened(gateway, 10))  # what the first ones set up is not theirs
        assert asyncio.run(opened(gateway, STREAMS)) < STREAMS * MOST_BYTES
    finally:
        gateway.stop()

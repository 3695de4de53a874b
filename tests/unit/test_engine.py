"""The children of a version, where starting another goes wrong in a way that nobody has foreseen."""

from __future__ import annotations

import asyncio

import pytest

from inference_worker.children.process import Child
from inference_worker.engine import ChildLimits, Engine, EngineDown
from inference_worker.tasks.protocol import Item
from tests.engines import PLAN


async def test_requests_do_not_wait_for_ever_for_a_child_whose_start_fails_unforeseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*_: object) -> Child:
        raise KeyError("unforeseen")

    monkeypatch.setattr(Child, "start", fails)
    engine = Engine(PLAN, 1, ChildLimits(10, 60))
    engine._in_background(engine._add_another())
    with pytest.raises(EngineDown, match="unforeseen"):
        await asyncio.wait_for(engine.encode([Item("a")]), 10)
    engine.close()


@pytest.mark.parametrize(
    ("device", "processes", "tokens"), [("cpu", 3, 512), ("cuda:0", 1, 16_384), ("mps", 1, 16_384)]
)
async def test_on_a_gpu_there_is_one_child_and_passes_are_as_large_as_it_says(
    monkeypatch: pytest.MonkeyPatch, device: str, processes: int, tokens: int
) -> None:
    class Loaded:
        labels: tuple[str, ...] = ()
        schemas: dict[str, object] = {}
        token_budget = tokens

        def __init__(self) -> None:
            self.device = device

        async def load(self, *_: object) -> None:
            pass

        def close(self) -> None:
            pass

    async def start(*_: object) -> Loaded:
        return Loaded()

    monkeypatch.setattr(Child, "start", start)
    engine = Engine(PLAN, 3, ChildLimits(10, 60), on_a_gpu=1)
    await engine.start()
    assert (engine.processes, len(engine._children)) == (processes, processes)
    assert (engine.device, engine.token_budget) == (device, tokens)
    engine.close()

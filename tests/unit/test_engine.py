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

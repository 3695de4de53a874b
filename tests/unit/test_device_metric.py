"""The memory of a GPU in the metrics of a worker: while a version that uses one is loaded."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from prometheus_client import REGISTRY

from inference_worker.children.device_memory import DeviceMemory
from inference_worker.memory import Memory


def samples() -> dict[str, float]:
    family = next(each for each in REGISTRY.collect() if each.name == "millstream_device_memory_bytes")
    return {each.labels["kind"]: each.value for each in family.samples if each.labels["device"] == "cuda:1"}


def lane(memory: DeviceMemory | None) -> Any:
    served = SimpleNamespace(label="m:1", model="m", version=SimpleNamespace(version="1"))
    told = SimpleNamespace(memory=memory)
    return SimpleNamespace(
        served=served, device="cuda:1", memory_bytes=lambda: 0, device_memory=lambda: told.memory, told=told
    )


def test_it_is_told_while_a_version_uses_one() -> None:
    memory, using = Memory(None, 1, Any, asyncio.Event()), lane(DeviceMemory(5, 9))  # type: ignore[arg-type]
    with memory.held_by(using):
        assert samples() == {"used": 5, "limit": 9}
        using.told.memory = DeviceMemory(7, 9)
        assert samples() == {"used": 7, "limit": 9}
        using.told.memory = None  # its child has just ended
        assert samples() == {"used": 0, "limit": 0}
    assert samples() == {}


def test_without_a_gpu_there_is_no_such_metric() -> None:
    memory = Memory(None, 1, Any, asyncio.Event())  # type: ignore[arg-type]
    with memory.held_by(lane(None)):
        assert samples() == {}

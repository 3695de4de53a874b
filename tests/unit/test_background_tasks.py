"""Work in the background is owned by somebody who notices its end, and durations are measured on a steady clock.

Held over the source itself: whoever adds a task, or asks for the time of day, adds a line here that says why.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("gateway", "inference_worker", "persister", "shared")

STARTS = ("create_task", "ensure_future", "run_coroutine_threadsafe")
# Who notices the end of a task; a loop of a service is given to `run_tasks` instead.
OWNED_TASKS = {
    "shared/service/lifecycle.py": "run_tasks: awaits all of them",
    "gateway/loops.py": "the loops: their end stops the gateway, whose clean-up awaits them",
    "gateway/control/experiments/shadowing.py": "errors of a copy are counted; cancelled and awaited at the end",
    "gateway/control/key_set.py": "whoever needs the keys awaits it; cancelled and awaited at the end",
    "gateway/control/known_keys.py": "whatever comes of it is given to those who wait for it",
    "gateway/core/caching.py": "a cache that fails is counted and left alone; awaited at the end",
    "gateway/core/submissions.py": "whatever it raises is given to those who wait for it",
    "shared/streams/result_cache.py": "a cache that fails is counted and left alone; awaited by all who look with it",
    "gateway/upkeep/queue_metrics.py": "each scrape reads its result; cancelled and awaited at the end",
    "inference_worker/artifact_store/store.py": "what fetching raises is raised to who loads; cancelled and awaited",
    "inference_worker/dev/serving.py": "whatever they raise ends the process, or is told; awaited at the end",
    "inference_worker/engine.py": "whatever it raises is logged, and ends the version if it has no child left",
    "inference_worker/following.py": "each version's ends the worker if it fails; all are awaited at the end",
    "inference_worker/heartbeat.py": "awaited at once",
    "inference_worker/memory.py": "awaited by who starts the children; cancelled and awaited if they have no room",
    "inference_worker/progress.py": "what it tells may get lost; cancelled and awaited at the end",
    "inference_worker/passes.py": "the lane reads the result of each pass",
    "persister/persister.py": "what it has read ahead is written before more is read",
    "persister/webhooks.py": "a store that fails is told; awaited or cancelled at the end",
    "inference_worker/versions.py": "only passes on the stop; awaited at the end",
}

TIMES_OF_DAY = ("time", "time_ns", "now", "utcnow", "today")
# What the time of day is right for: no duration, no silence, no decision that a step of the clock could spoil.
DATED = {
    "gateway/api/erasures.py": "what shall be erased was made before a time of day",
    "gateway/api/usage.py": "days of the calendar",
    "gateway/control/experiments/shadowing.py": "ids are made from the time of acceptance",
    "gateway/control/key_admin.py": "when a key was made and expires",
    "gateway/control/known_keys.py": "when a key was last used and expires",
    "gateway/core/intake.py": "ids are made from the time of acceptance",
    "inference_worker/dev/memory.py": "when a request was accepted and has ended, in the place of Redis's clock",
    "inference_worker/dev/stand_ins.py": "since when its worker is there, which the console shows",
    "inference_worker/heartbeat.py": "when the worker was started, for people",
    "inference_worker/tracing.py": "spans have times of day",
    "persister/tracing.py": "spans have times of day",
    "persister/batch_writer.py": "the lag, for a metric, against the time that a worker wrote down",
    "persister/persister.py": "partitions are months of the calendar",
    "persister/webhook_sender.py": "the timestamp of a signature",
    "persister/retention.py": "rows are kept for days of the calendar",
}


def calls(source: str, names: tuple[str, ...], of: tuple[str, ...] = ()) -> Iterator[int]:
    """The lines that call something of one of these names, on a thing of these names if any are given."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
            owner = node.func.value
            if not of or (isinstance(owner, ast.Name | ast.Attribute) and _name(owner) in of):
                yield node.lineno


def _name(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def callers(names: tuple[str, ...], of: tuple[str, ...] = ()) -> set[str]:
    """The modules of the services that do."""
    files = (file for service in SERVICES for file in (ROOT / service).rglob("*.py"))
    return {str(file.relative_to(ROOT)) for file in files if list(calls(file.read_text("utf-8"), names, of))}


def test_each_task_has_an_owner() -> None:
    assert callers(STARTS) == set(OWNED_TASKS)


def test_the_time_of_day_decides_nothing() -> None:
    assert callers(TIMES_OF_DAY, ("time", "datetime", "date")) == set(DATED)


@pytest.mark.parametrize("source", ["import asyncio\nasyncio.create_task(f())", "loop.create_task(f())"])
def test_a_task_is_found(source: str) -> None:
    assert list(calls(source, STARTS))


@pytest.mark.parametrize("source", ["time.time()", "datetime.now(UTC)", "datetime.datetime.utcnow()"])
def test_a_time_of_day_is_found(source: str) -> None:
    assert list(calls(source, TIMES_OF_DAY, ("time", "datetime", "date")))
    assert not list(calls("time.monotonic(); loop.time(); store.now()", TIMES_OF_DAY, ("time", "datetime", "date")))

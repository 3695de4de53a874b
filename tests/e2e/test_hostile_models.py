"""What a model does to its process ends the item that did it, within a minute, and nothing else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import aiohttp
import pytest

from tests.access import redis_url_of
from tests.e2e.conftest import Start
from tests.processes import descendants, wait_until
from tests.waiting import eventually

CATALOGUE = str(Path(__file__).parents[1] / "fixtures" / "hostile.toml")
HARM = {
    "exit": "exit code 3",
    "exit while encoding": "exit code 5",
    "crash": "SIGSEGV",
    "hold the lock": "took longer than 2 s",
    "allocate without end": "no memory left",
    "close all descriptors": "its process ended",
    "answer hugely": "result_too_large: the model's result has 50000011 bytes of JSON; at most 1000000 are allowed",
    "leave": "SystemExit: 0",
    "answer nothing": "returned None",
    "encode to None": "TypeError",
}
WITHIN_S = 60  # 9 s at most on two idle cores; a worker that waits for what never answers waits for ever


async def predict(session: aiohttp.ClientSession, model: str, text: str) -> dict[str, Any]:
    """Ask and wait for the answer."""
    body = {"model": model, "text": text}
    async with session.post("/api/v1/predict", json=body, params={"wait": str(WITHIN_S)}) as answer:
        said: dict[str, Any] = await answer.json()
        return said


async def loaded(session: aiohttp.ClientSession) -> None:
    """Wait until both models answer."""
    for model in ("good", "hostile"):
        assert (await predict(session, model, "warm up"))["status"] == "succeeded"


async def slowest_of(session: aiohttp.ClientSession, until: asyncio.Event) -> list[float]:
    """Ask the good model one thing after another; each must be answered rightly. Returns the seconds, sorted."""
    seconds = []
    while not until.is_set():
        started = time.monotonic()
        assert (await predict(session, "good", "fine"))["result"]["echo"] == "fine"
        seconds.append(time.monotonic() - started)
    return sorted(seconds)


@pytest.mark.timeout(300)
async def test_harm_ends_its_own_item_and_nothing_else(start: Start) -> None:
    gateway = start("gateway", MODEL_CATALOGUE=CATALOGUE)
    worker = start("inference_worker", MODEL_CATALOGUE=CATALOGUE, MAX_DELIVERIES="2")
    done = asyncio.Event()
    async with aiohttp.ClientSession(gateway.url) as session:
        await loaded(session)
        others = asyncio.create_task(slowest_of(session, done))
        for text, told in HARM.items():
            started = time.monotonic()
            harmful, *good = await asyncio.gather(
                *(predict(session, "hostile", each) for each in (text, "a", "b", "c"))
            )
            assert time.monotonic() - started < WITHIN_S
            assert told in (harmful.get("error") or harmful.get("detail", "")), (text, harmful)
            assert [each["status"] for each in good] == ["succeeded"] * 3, text
        done.set()
        seconds = await others
    assert worker.ready
    assert seconds[len(seconds) * 99 // 100] < 1.0  # a hung neighbour would hold it for a compute timeout of 2 s


async def test_a_model_that_forks_is_answered_once(start: Start) -> None:
    gateway = start("gateway", MODEL_CATALOGUE=CATALOGUE)
    start("inference_worker", MODEL_CATALOGUE=CATALOGUE)
    async with aiohttp.ClientSession(gateway.url) as session:
        await loaded(session)
        forked = await predict(session, "hostile", "fork")
        assert forked.get("result") == {"child": False}, forked
        assert (await predict(session, "hostile", "after"))["result"] == {"echo": "after"}


async def test_versions_that_cannot_load_are_named_and_the_others_serve(start: Start) -> None:
    gateway = start("gateway", MODEL_CATALOGUE=CATALOGUE)
    start("inference_worker", MODEL_CATALOGUE=CATALOGUE, HEARTBEAT_INTERVAL_S="0.2", HEARTBEAT_TTL_S="5")
    async with aiohttp.ClientSession(gateway.url) as session:
        assert (await predict(session, "good", "fine"))["status"] == "succeeded"

        async def named() -> bool:
            async with session.get("/health") as answer:
                health = await answer.json()
            return bool(health["load_errors"].keys() == {"not-importable:1", "cannot-load:1", "cannot-answer:1"})

        await eventually(named, "health names them")
        async with session.get("/api/v1/models/cannot-load") as answer:
            (version,) = (await answer.json())["versions"]
        assert "the weights are torn" in version["load_error"]
        async with session.get("/api/v1/models/cannot-answer") as answer:
            (version,) = (await answer.json())["versions"]
        assert "its sample fails" in version["load_error"] and "not finite" in version["load_error"]
        async with session.get("/api/v1/models/good") as answer:
            assert (await answer.json())["versions"][0]["load_error"] is None


async def test_what_a_version_held_waits_elsewhere_while_it_cannot_be_loaded_again(
    start: Start, tmp_path: Path
) -> None:
    entry = Path(CATALOGUE).read_text(encoding="utf-8").split("[[models]]")[1]
    once = entry.replace('"good"', '"once"').replace("Echo", "LoadsOnce").replace('"none"', f'"{tmp_path}"')
    catalogue = tmp_path / "models.toml"
    catalogue.write_text(f"[[models]]{entry}[[models]]{once}", encoding="utf-8")
    gateway = start("gateway", MODEL_CATALOGUE=str(catalogue))
    worker = start("inference_worker", MODEL_CATALOGUE=str(catalogue), HEARTBEAT_INTERVAL_S="0.2", HEARTBEAT_TTL_S="5")
    async with aiohttp.ClientSession(gateway.url) as session:
        waiting = asyncio.create_task(predict(session, "once", "die once"))

        async def named() -> bool:
            async with session.get("/api/v1/models/once") as answer:
                (version,) = (await answer.json())["versions"]
            return "FileExistsError" in (version["load_error"] or "")

        await eventually(named, "the API says why the version is not served")
        assert (await predict(session, "good", "fine"))["status"] == "succeeded"
        async with aiohttp.ClientSession(worker.url) as probes, probes.get("/metrics") as answer:
            assert "millstream_children{" in await answer.text()
        (tmp_path / "loaded").unlink()
        assert (await waiting)["result"] == {"echo": "die once"}


@pytest.mark.parametrize("models", ["cannot-load", "good,cannot-load"])
def test_a_worker_ends_if_nothing_loads_or_it_is_strict(start: Start, models: str) -> None:
    worker = start(
        "inference_worker", ready=False, MODEL_CATALOGUE=CATALOGUE, WORKER_MODELS=models, WORKER_STRICT="true"
    )
    assert worker.process.wait(WITHIN_S) == 2
    assert "the weights are torn" in worker.log.read_text()


def test_children_know_no_password_and_the_worker_has_no_torch(start: Start, environment: dict[str, str]) -> None:
    worker = start("inference_worker", WORKER_MODELS="echo", REDIS_PASSWORD="hunter2", HF_TOKEN="hunter2")
    assert "libtorch" not in Path(f"/proc/{worker.process.pid}/maps").read_text(encoding="utf-8")
    children = descendants(worker.process.pid)
    assert len(children) >= 2  # the server that forks, and a child
    for pid in children:
        told = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8")
        assert "hunter2" not in told and redis_url_of("inference_worker", environment["REDIS_URL"]) not in told


def test_children_end_with_their_worker(start: Start) -> None:
    worker = start("inference_worker", WORKER_MODELS="echo")
    children = descendants(worker.process.pid)
    worker.kill()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "they have ended", 5)


def test_a_worn_child_is_replaced(start: Start, tmp_path: Path) -> None:
    catalogue = tmp_path / "models.toml"
    catalogue.write_text(
        Path(CATALOGUE).read_text(encoding="utf-8").replace("compute_timeout_s = 2", "max_requests = 5")
    )
    gateway = start("gateway", MODEL_CATALOGUE=str(catalogue))
    worker = start("inference_worker", MODEL_CATALOGUE=str(catalogue), WORKER_MODELS="hostile")
    first = descendants(worker.process.pid)

    async def ask() -> None:
        async with aiohttp.ClientSession(gateway.url) as session:
            for number in range(20):
                assert (await predict(session, "hostile", f"text {number}"))["result"] == {"echo": f"text {number}"}

    asyncio.run(ask())
    wait_until(lambda: not set(descendants(worker.process.pid)) >= set(first), "the first child has gone", 10)
    metrics = urlopen(f"{worker.url}/metrics").read().decode()
    assert 'millstream_child_restarts_total{model="hostile",reason="worn",version="1"}' in metrics

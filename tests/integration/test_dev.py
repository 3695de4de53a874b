"""`python -m inference_worker.dev` as who writes a model uses it: the paths of a deployment, from one process."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import aiohttp
import numpy as np
import orjson
import pytest
from tritonclient.http import InferenceServerClient, InferInput

from scripts.stack.ports import free_port
from tests.buckets import serving
from tests.processes import REPOSITORY, wait_until
from tests.waiting import eventually

IRIS = """
import os

from pydantic import BaseModel


class Iris:
    class Input(BaseModel):
        petal_length: float
        model_config = {"json_schema_extra": {"examples": [{"petal_length": 4.7}]}}

    def predict(self, inputs):
        if any(each.petal_length < 0 for each in inputs):
            os._exit(1)
        if any(each.petal_length == 0 for each in inputs):
            raise ValueError("no petal")
        return [{"species": "setosa" if each.petal_length < 2.5 else "OTHER"} for each in inputs]


class Mood:
    def predict(self, inputs):
        return [{"label": "good" if "good" in each else "bad"} for each in inputs]
"""
WORDS = """
from pathlib import Path

class Words:
    def __init__(self, artifact):
        self._words = Path(artifact, "words.txt").read_text().split()

    def predict(self, inputs):
        return [{"known": each in self._words} for each in inputs]
"""
PREDICT = "/api/v1/predict"

Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start the command beside the model's file."""
    (tmp_path / "iris.py").write_text(IRIS, encoding="utf-8")
    running = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        with (tmp_path / "out").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "inference_worker.dev", *arguments],
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
            )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def said(tmp_path: Path) -> str:
    return (tmp_path / "out").read_text(encoding="utf-8")


@pytest.fixture
async def dev(run: Run, tmp_path: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a running one, which looks at its code."""
    port = free_port()
    process = run("iris.py:Iris", f"--port={port}", "--reload")
    await eventually(lambda: "Nothing is stored" in said(tmp_path) or process.poll() is not None, "it is ready", 60)
    assert process.poll() is None, said(tmp_path)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session
    process.send_signal(signal.SIGINT)
    wait_until(lambda: process.poll() is not None, "it ends")
    assert process.returncode == 0, said(tmp_path)


async def answer(session: aiohttp.ClientSession, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    method = "GET" if body is None else "POST"
    async with session.request(method, path, json=body, headers=headers) as response:
        return response.status, await response.json()


def flower(length: Any) -> dict[str, Any]:
    return {"model": "iris", "input": {"petal_length": length}}


async def test_it_answers_as_a_deployment_does(dev: aiohttp.ClientSession, tmp_path: Path) -> None:
    status, body = await answer(dev, PREDICT, flower(4.7))
    assert (status, body["version"], body["result"]) == (200, "dev", {"species": "OTHER"}), body
    status, found = await answer(dev, f"/api/v1/predictions/{body['prediction_id']}")
    assert (status, found["result"], found["input"]) == (200, body["result"], {"petal_length": 4.7})
    status, body = await answer(dev, PREDICT, flower("long"))
    assert (status, body["errors"][0]["loc"]) == (422, ["body", "input", "petal_length"])
    inputs = [{"petal_length": each} for each in (1, 3)]
    status, body = await answer(dev, f"{PREDICT}/batch", {"model": "iris", "inputs": inputs})
    assert (status, [each["result"]["species"] for each in body["items"]]) == (200, ["setosa", "OTHER"])
    status, queued = await answer(dev, f"{PREDICT}?wait=0", flower(1), **{"Idempotency-Key": "a"})
    assert (status, queued["status"]) == (202, "queued")
    assert await answer(dev, f"{PREDICT}?wait=5", flower(1), **{"Idempotency-Key": "a"}) == await answer(
        dev, f"{PREDICT}?wait=5", flower(1), **{"Idempotency-Key": "a"}
    )
    assert (await answer(dev, PREDICT, flower(2), **{"Idempotency-Key": "a"}))[0] == 409
    status, page = await answer(dev, "/api/v1/predictions?model=iris&status=succeeded&limit=2")
    assert status == 200 and page["items"][0]["prediction_id"] == queued["prediction_id"] and page["next_cursor"]
    status, model = await answer(dev, "/api/v1/models/iris")
    assert model["versions"][0]["schemas"]["example"] == {"petal_length": 4.7}
    assert (await answer(dev, "/api/v1/models"))[1]["items"][0]["versions"][0]["workers"] == 1
    status, body = await answer(dev, "/api/v1/usage")
    assert (status, body["type"]) == (501, "urn:millstream:problem:needs-a-stack") and "make up" in body["detail"]
    assert (await answer(dev, PREDICT, flower(1) | {"model": "rose"}))[0] == 404
    async with dev.get("/openapi.json") as response:
        document = await response.json()
        length = document["components"]["schemas"]["iris.Input"]["properties"]["petal_length"]
        assert length["type"] == "number", "what the model takes"
        assert {each for each in document["paths"] if each.startswith("/api/v1/")} == {
            *(PREDICT, f"{PREDICT}/batch", "/api/v1/predictions", "/api/v1/predictions/{prediction_id}"),
            *("/api/v1/predictions/{prediction_id}/events", "/api/v1/events"),
            *("/api/v1/models", "/api/v1/models/{name}"),
        }


def test_a_client_of_a_protocol_and_the_console_work_as_with_a_deployment(run: Run, tmp_path: Path) -> None:
    port = free_port()
    process = run("iris.py:Mood", f"--port={port}")
    wait_until(lambda: "Nothing is stored" in said(tmp_path) or process.poll() is not None, "it is ready", 60)
    with InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_ready() and client.is_model_ready("mood")
        texts = InferInput("text", [2], "BYTES")
        texts.set_data_from_numpy(np.array([b"a good day", b"rain"], dtype=np.object_))
        labels = [orjson.loads(each)["label"] for each in client.infer("mood", [texts]).as_numpy("result")]
    assert labels == ["good", "bad"]
    for method, path in (("GET", "/"), ("HEAD", "/v1/models"), ("HEAD", "/api/v1/models")):
        with urlopen(Request(f"http://127.0.0.1:{port}{path}", method=method, headers={"Accept": "text/html"})) as page:
            assert page.status == 200 and bool(page.read()) == (method == "GET")
    with urlopen(f"http://127.0.0.1:{port}/api/v1/events") as watching:
        lines = list(itertools.takewhile(lambda line: b"predictions" not in line, watching))
        process.send_signal(signal.SIGINT)
        assert b"workers" in b"".join(lines) and process.wait(10) == 0, "who watches does not hold it up"


async def test_what_it_says_first_can_be_run(dev: aiohttp.ClientSession, tmp_path: Path) -> None:
    command = next(line for line in said(tmp_path).splitlines() if line.lstrip().startswith("curl"))
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert '"species":"OTHER"' in done.stdout


async def test_what_a_model_raises_is_told_and_its_end_is_survived(dev: aiohttp.ClientSession) -> None:
    status, body = await answer(dev, PREDICT, flower(0))
    assert (status, body["detail"]) == (500, "ValueError: no petal")
    status, body = await answer(dev, f"{PREDICT}?wait=30", flower(-1))
    assert status == 500 and "given up after 3 deliveries" in body["detail"], body
    assert (await answer(dev, f"{PREDICT}?wait=30", flower(1)))[0] == 200


async def test_changed_code_serves_and_code_that_cannot_be_loaded_leaves_what_was(
    dev: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = tmp_path / "iris.py"

    async def species() -> str:
        return str((await answer(dev, PREDICT, flower(4.7)))[1]["result"]["species"])

    async def is_virginica() -> bool:
        return await species() == "virginica"

    file.write_text(IRIS.replace("OTHER", "virginica"), encoding="utf-8")
    await eventually(is_virginica, "the change serves", 60)
    file.write_text(IRIS + "\n(", encoding="utf-8")
    await eventually(lambda: "NOT LOADED: " in said(tmp_path), "it says so", 60)
    assert "SyntaxError" in said(tmp_path)
    assert await species() == "virginica"
    (version,) = (await answer(dev, "/api/v1/models/iris"))[1]["versions"]
    assert "SyntaxError" in version["load_error"]
    file.write_text(IRIS.replace("OTHER", "lily"), encoding="utf-8")

    async def is_lily() -> bool:
        return await species() == "lily"

    await eventually(is_lily, "repaired, it serves", 60)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["iris.py:Rose"], "Rose"),
        (["nowhere.py:Iris"], "there is no file"),
        (["text-classification"], "needs an `artifact`"),
        (["text-classification", "--artifact=a", "--reload"], "--reload is for a class of your own"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(run: Run, tmp_path: Path, arguments: list[str], told: str) -> None:
    process = run(*arguments, f"--port={free_port()}")
    assert process.wait(60) == 2
    last = said(tmp_path).splitlines()[-1]
    assert last.startswith("inference_worker.dev: ") and told in last, said(tmp_path)


async def test_an_artifact_of_a_bucket_is_fetched_first_and_ctrl_c_ends_that(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving() as bucket:
        address = bucket.put_files({"words.txt": b"a b"}, "words")
        for name, value in (bucket.settings | {"ARTIFACT_CACHE": str(tmp_path / "cache")}).items():
            monkeypatch.setenv(name, value)
        (tmp_path / "words.py").write_text(WORDS, encoding="utf-8")
        port = free_port()
        arguments = ("words.py:Words", f"--artifact={address}", f"--port={port}")
        bucket.pause_s = 60
        process = run(*arguments)
        await eventually(lambda: bool(bucket.asked), "it fetches", 60)
        process.send_signal(signal.SIGINT)
        await eventually(lambda: process.poll() is not None, "it ends")
        assert process.returncode == 0 and "Nothing is stored" not in said(tmp_path), said(tmp_path)
        bucket.pause_s = 0
        process = run(*arguments)
        await eventually(lambda: "Nothing is stored" in said(tmp_path) or process.poll() is not None, "ready", 60)
        assert "fetching s3://models/words: 0.0 of 0.0 MB" in said(tmp_path)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            status, body = await answer(session, PREDICT, {"model": "words", "input": "b"})
        assert (status, body["result"]) == (200, {"known": True}), body

"""Artifacts of buckets, through gateway and worker: versions of the catalogue and one that is registered by API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from transformers import BertForSequenceClassification

from migrations.__main__ import run as run_migrations
from migrations.settings import MigrateSettings
from tests.buckets import BUCKET, Bucket, serving
from tests.e2e.conftest import Start
from tests.tiny_models import bert, save
from tests.waiting import eventually

WORDS = """
from pathlib import Path

class Words:
    def __init__(self, artifact):
        self._words = Path(artifact, "words.txt").read_text().split()

    def predict(self, inputs):
        return [{"known": each in self._words} for each in inputs]
"""
WRONG = {  # what is wrong with an artifact, and what is told
    "digest": "its SHA256SUMS is another one than the address says: its SHA-256 is",
    "content": "content/words.txt is another file than SHA256SUMS says: its SHA-256 is",
    "missing": "there is no 'missing/words.txt' in bucket 'models'",
    "denied": "may not be read (AccessDenied): look at the credentials and their right s3:GetObject",
}
ENTRY = """
[[models]]
name = "{name}"
task = "{task}"
description = "one of several"
[[models.versions]]
version = "1"
artifact = "{artifact}"
default = true
processes = 1
"""
PATIENCE_S = 240


def labels(folder: Path, name: str) -> Path:
    """A model directory, whose labels begin with a name."""
    config = bert(id2label={0: f"{name}-a", 1: f"{name}-b"}, label2id={f"{name}-a": 0, f"{name}-b": 1})
    save(folder / name, BertForSequenceClassification(config))
    return folder / name


def catalogue_in(folder: Path, bucket: Bucket) -> Path:
    """The catalogue, whose artifacts are in the bucket; all but one are wrong there."""
    entries = [ENTRY.format(name="tiny", task="text-classification", artifact=bucket.put(labels(folder, "ONE"), "one"))]
    (folder / "words.py").write_text(WORDS, encoding="utf-8")
    for name in WRONG:
        address = bucket.put_files({"words.txt": b"a b"}, name)
        entries.append(ENTRY.format(name=name, task="words.py:Words", artifact=address))
    bucket.objects["digest/SHA256SUMS"] += b"0" * 64 + b"  ./more.txt\n"
    bucket.objects["content/words.txt"] = b"x y"
    del bucket.objects["missing/words.txt"]
    bucket.denied = ("denied/",)
    (folder / "models.toml").write_text("".join(entries), encoding="utf-8")
    return folder / "models.toml"


def repair(bucket: Bucket) -> None:
    """What a person would do who has read why."""
    for name in WRONG:
        bucket.put_files({"words.txt": b"a b"}, name)
    bucket.denied = ()


class Client:
    """Who asks, and administers, the models."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(self, method: str, path: str, body: object = None) -> Any:
        async with self._session.request(method, f"/api/v1{path}", json=body) as answer:
            assert answer.status < 300, await answer.text()
            return await answer.json()

    async def answer_of(self, model: str, version: str = "1") -> Any:
        body = {"model": model, "version": version, "text": "a"}
        answer = await self.call("POST", "/predict?wait=60", body)

        async def is_there() -> bool:
            nonlocal answer
            answer = await self.call("GET", f"/predictions/{answer['prediction_id']}")
            return answer.get("result") is not None

        await eventually(is_there, f"{model} {version} answers", PATIENCE_S)
        return answer["result"]

    async def reason_of(self, model: str, version: str = "1") -> str:
        """Why it could not be loaded; empty if it was, or is not known yet."""
        versions = {each["version"]: each for each in (await self.call("GET", f"/models/{model}"))["versions"]}
        return versions.get(version, {}).get("load_error") or ""


@pytest.mark.timeout(600)
async def test_each_is_told_what_is_wrong_and_serves_once_it_is_repaired(
    start: Start, tmp_path: Path, database_url: str
) -> None:
    async with serving() as bucket:
        catalogue = catalogue_in(tmp_path, bucket)
        second = bucket.put(labels(tmp_path, "TWO"), "released/two")
        run_migrations(MigrateSettings(database_url=database_url, model_catalogue=catalogue), 0)
        settings: dict[str, Any] = {"MODEL_CATALOGUE": str(catalogue), "MODEL_BUCKETS": f"s3://{BUCKET}/released"}
        gateway = start("gateway", **settings)
        of_worker = bucket.settings | {"ARTIFACT_CACHE": str(tmp_path / "cache"), "HEARTBEAT_INTERVAL_S": "0.5"}
        worker = start("inference_worker", ready=False, **settings, **of_worker)
        process = worker.process.pid
        async with aiohttp.ClientSession(gateway.url) as session:
            client = Client(session)

            async def all_are_told() -> bool:
                return all([told in await client.reason_of(name) for name, told in WRONG.items()])

            await eventually(all_are_told, "each has its reason", PATIENCE_S)
            assert (await client.answer_of("tiny"))["label"].startswith("ONE"), "it serves meanwhile"
            repair(bucket)
            for name in WRONG:
                assert await client.answer_of(name) == {"known": True}, name
    async with aiohttp.ClientSession(gateway.url) as session:
        client = Client(session)
        body = {"version": "2", "artifact": second, "processes": 1}
        await client.call("POST", "/models/tiny/versions", body)
        await client.call("POST", "/models/tiny/versions/2/activate")

        async def told_away() -> bool:
            return "cannot be read now: " in await client.reason_of("tiny", "2")

        await eventually(told_away, "the bucket is away", PATIENCE_S)
        assert (await client.answer_of("tiny"))["label"].startswith("ONE")
        assert await client.answer_of("missing") == {"known": True}, "it is at hand"
        async with serving(bucket):
            assert (await client.answer_of("tiny", "2"))["label"].startswith("TWO")

        async def is_not_told() -> bool:
            return not await client.reason_of("tiny", "2")

        await eventually(is_not_told, "no reason is left")
    assert worker.process.pid == process and worker.process.poll() is None

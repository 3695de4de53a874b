"""The built-in tasks of docs/TASKS.md as a newcomer meets them: its entries are the catalogue, its requests are sent.

Behind each entry is a FIXTURE with random weights; what it answers means nothing, but has the shape that is written.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest
from PIL import Image

from scripts.stack.postgres import PostgresServer
from scripts.stack.redis import RedisServer
from shared.contract.tasks import TASKS
from tests.conftest import cloned_database
from tests.e2e.conftest import services
from tests.processes import REPOSITORY
from tests.tiny_families import encoder, image_classifier, translator, writer
from tests.waiting import eventually

DOCUMENT = (REPOSITORY / "docs/TASKS.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in DOCUMENT.split("\n## ")[1:] if part.partition("\n")[0] in TASKS}
ENTRIES = {task: re.findall(r"```\n(\[\[models\]\].*?)```", part, re.DOTALL)[0] for task, part in SECTIONS.items()}
MAKE: dict[str, Callable[[Path], str]] = {
    "token-classification": lambda path: encoder(path, "bert", "AutoModelForTokenClassification", num_labels=5),
    "fill-mask": lambda path: encoder(path, "bert", "AutoModelForMaskedLM"),
    "translation": lambda path: translator(path, "nllb", max_new_tokens=8, num_beams=2),
    "text-generation": lambda path: writer(path, "qwen2"),
    "text-ranking": lambda path: encoder(path, "xlm-roberta", "AutoModelForSequenceClassification", num_labels=1),
    "question-answering": lambda path: encoder(path, "roberta", "AutoModelForQuestionAnswering"),
    "image-classification": lambda path: image_classifier(path, "resnet"),
}
SHAPES = {
    "token-classification": {"entities": [{"label": str, "text": str, "start": int, "end": int, "score": float}]},
    "fill-mask": {"masks": [[{"token": int, "text": str, "score": float}]]},
    "translation": {"translation": str},
    "text-generation": {"text": str, "finish_reason": str, "prompt_tokens": int, "new_tokens": int},
    "text-ranking": {"ranking": [{"index": int, "score": float}]},
    "question-answering": {"answers": [{"text": str, "start": int, "end": int, "score": float}]},
    "image-classification": {"label": str, "scores": dict},
}
WRONG: dict[str, tuple[dict[str, Any], list[Any], str]] = {
    "fill-mask": ({"text": "No gap."}, ["body", "text"], "must have the mask [MASK]"),
    "translation": ({"text": "Hi"}, ["body", "text"], "options.tgt_lang is one of"),
    "text-generation": ({"input": {"messages": [{}]}}, ["body", "input", "messages", 0, "role"], "must be given"),
    "text-ranking": (
        {"input": {"query": "a", "documents": ["a", 1]}},
        ["body", "input", "documents", 1],
        "must be a text",
    ),
    "question-answering": ({"input": {"question": "a"}}, ["body", "input", "context"], "must be given"),
    "image-classification": ({"input": {"image": "abcd"}}, ["body", "input", "image"], "is no image"),
}


@pytest.fixture(scope="module")
def stack(
    redis_server: RedisServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """The services with a model of each entry; yields the API and the database."""
    folder = tmp_path_factory.mktemp("tasks")
    entries = []
    for task, make in MAKE.items():
        (folder / task).mkdir()
        entry = re.sub(r"artifact = .*", f'artifact = "{make(folder / task)}"', ENTRIES[task])
        entries.append(entry.replace("default = true", "default = true\nprocesses = 1"))  # to be ready sooner
    (folder / "models.toml").write_text("\n".join(entries), encoding="utf-8")
    with cloned_database(postgres_server) as database_url:
        stores = {"REDIS_URL": redis_server.url, "DATABASE_URL": database_url, "KEY_PREFIX": "tasks:"}
        with services({**stores, "MODEL_CATALOGUE": str(folder / "models.toml")}, folder) as start:
            started = [start(name, ready=False) for name in ("gateway", "inference_worker", "persister")]
            for service in started:
                service.wait_ready(120)
            yield started[0].url, database_url


@pytest.fixture
async def session(stack: tuple[str, str]) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(stack[0]) as made:
        yield made


def request_of(task: str) -> dict[str, Any]:
    """The body of the section's request."""
    if task == "image-classification":
        file = io.BytesIO()
        Image.effect_noise((64, 48), 90).save(file, "JPEG")
        return {"model": "pictures", "input": base64.b64encode(file.getvalue()).decode()}
    [body] = re.findall(r"-d '(\{.*\})'", SECTIONS[task])
    made: dict[str, Any] = orjson.loads(body)
    return made


def has_shape(value: Any, shape: Any) -> bool:
    """Whether a result is what the document writes: all fields of it, and no other."""
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(each, shape[0]) for each in value)
    if isinstance(shape, Mapping):
        return value.keys() == shape.keys() and all(has_shape(value[name], each) for name, each in shape.items())
    return isinstance(value, shape)


def test_every_section_has_an_entry_of_at_most_twelve_lines() -> None:
    assert ENTRIES.keys() == MAKE.keys()
    assert all(len(entry.strip().splitlines()) <= 12 for entry in ENTRIES.values())


@pytest.mark.parametrize("task", MAKE)
async def test_what_the_document_sends_is_answered_as_it_says_and_stored_as_it_was_sent(
    stack: tuple[str, str], session: aiohttp.ClientSession, task: str
) -> None:
    body = request_of(task)
    async with session.post("/api/v1/predict?wait=30", json=body) as answer:
        said = await answer.json()
        assert answer.status == 200, said
    assert has_shape(said["result"], SHAPES[task]), said["result"]
    rows: list[Any] = []

    async def stored() -> bool:
        query = "SELECT input_data, output_data FROM predictions WHERE id = $1"
        rows[:] = await connection.fetch(query, said["prediction_id"])
        return bool(rows)

    connection = await asyncpg.connect(stack[1])
    try:
        await eventually(stored, "the prediction is stored")
    finally:
        await connection.close()
    [row] = rows
    sent = body.get("input", body.get("text"))
    kept = orjson.loads(row["input_data"])
    assert kept == sent if "input" in body else kept["text"] == sent
    assert orjson.loads(row["output_data"]) == said["result"]


@pytest.mark.parametrize("task", WRONG)
async def test_what_a_task_does_not_take_is_a_422_that_names_the_place(
    session: aiohttp.ClientSession, task: str
) -> None:
    wrong, place, told = WRONG[task]
    async with session.post("/api/v1/predict?wait=30", json={"model": request_of(task)["model"], **wrong}) as answer:
        said = await answer.json()
        assert answer.status == 422, said
    [error] = said["errors"]
    assert error["loc"] == place and told in error["msg"]

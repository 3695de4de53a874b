"""The memory that stands in the place of Redis when a model is tried, and how it is told to be asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inference_worker.dev import memory as memory_module
from inference_worker.dev.__main__ import code_of, how_to_ask, model_of
from inference_worker.dev.memory import Memory
from inference_worker.dev.serving import _stamps
from shared.contract.errors import ConfigurationError
from shared.contract.messages import Outcome, PredictionResult, Status, decode_request
from shared.contract.queues import Priority, Queue
from shared.streams.prediction_state import Queued
from shared.streams.publishing import Group, NewRequest, Published, Verdict
from shared.streams.version_streams import Counts
from tests.streams import new_request

QUEUE, LATER = Queue("iris", "dev"), Queue("iris", "dev", Priority.BATCH)
BOTH = Counts(8, 8)
DONE = Outcome(Status.SUCCEEDED, b"{}")


def keyed(*requests: NewRequest, fingerprint: str = "a") -> Group:
    return Group(requests, "key", fingerprint, "batch")


async def test_what_is_accepted_is_read_as_from_redis_and_found_until_it_has_ended() -> None:
    memory, new = Memory(), new_request()
    assert memory.accept(QUEUE, Group([new])) == Published(Verdict.ACCEPTED)
    assert memory.states == {new.id: Queued(0, "iris:dev")}
    (delivery,) = (await memory.take(BOTH, 1000)).deliveries
    request = decode_request(delivery.fields)
    assert (request.id, request.model, request.version, request.priority) == (new.id, *QUEUE)
    assert request.deadline_at - request.submitted_at == new.timeout_ms
    assert memory.end(delivery.entry, DONE) and not memory.end(delivery.entry, DONE)
    result = memory.states[new.id]
    assert isinstance(result, PredictionResult) and (result.input, result.outcome) == (new.input, DONE)
    assert memory.hints.get_nowait().id == new.id


async def test_each_priority_has_its_count() -> None:
    memory = Memory()
    for queue in (QUEUE, LATER):
        memory.accept(queue, Group([new_request() for _ in range(3)]))
    for counts, found in ((Counts(2, 0), 2), (Counts(0, 1), 1), (BOTH, 3), (BOTH, 0)):
        assert len((await memory.take(counts, 0)).deliveries) == found


async def test_what_is_given_back_comes_first_and_its_deliveries_count() -> None:
    memory, requests = Memory(), [new_request() for _ in range(3)]
    memory.accept(QUEUE, Group(requests))
    taken = [each.entry for each in (await memory.take(Counts(2, 0), 0)).deliveries]
    assert memory.count_delivery(taken[1]) == 2 and memory.count_delivery("unknown") == 0
    assert memory.give_back([*taken, "unknown"]) == 2
    again = (await memory.take(BOTH, 0)).deliveries
    assert [(each.entry, each.deliveries) for each in again] == [
        (requests[0].id, 1),
        (requests[1].id, 2),
        (requests[2].id, 1),
    ]


async def test_who_waits_for_requests_is_woken() -> None:
    memory = Memory()
    reading = asyncio.create_task(memory.take(BOTH, 60_000))
    await asyncio.sleep(0)
    memory.accept(QUEUE, Group([new_request()]))
    assert len((await reading).deliveries) == 1


def test_an_idempotency_key_means_what_it_meant_before() -> None:
    memory, new = Memory(), new_request()
    assert memory.accept(QUEUE, keyed(new)) == Published(Verdict.ACCEPTED)
    assert memory.accept(QUEUE, keyed(new_request())) == Published(Verdict.ACCEPTED, [new.id])
    assert memory.accept(QUEUE, keyed(new_request(), fingerprint="b")) == Published(Verdict.CONFLICT)
    assert len(memory.states) == 1


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "MOST_WAITING", 3)
    monkeypatch.setattr(memory_module, "MOST_FINISHED", 2)
    memory, first = Memory(), new_request()
    memory.accept(QUEUE, keyed(first))
    memory.accept(QUEUE, Group([new_request(), new_request()]))
    assert memory.accept(LATER, Group([new_request()])) == Published(Verdict.BACKLOG)
    for each in (await memory.take(BOTH, 0)).deliveries:
        memory.end(each.entry, DONE)
    assert len(memory.states) == 2 and first.id not in memory.states
    assert memory.accept(QUEUE, keyed(new_request())).earlier == (), "the key is forgotten with its prediction"


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("my_models/iris.py:Iris", "iris"),
        ("my_models.flowers:IrisModel", "iris-model"),
        ("flowers.py:_V2Iris_", "v2-iris"),
        ("text-classification", "text-classification"),
    ],
)
def test_a_model_has_the_name_of_its_class(task: str, name: str) -> None:
    assert model_of(task, "artifact", "float32", []).name == name


@pytest.mark.parametrize("task", ["unknown", "text-classification", "iris.py:", "my models:Iris"])
def test_what_is_no_model_is_told(task: str) -> None:
    with pytest.raises(ConfigurationError, match="task"):
        model_of(task, "", "float32", [])


def test_the_code_of_a_class_is_what_is_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "iris.py"
    file.touch()
    assert code_of(f"{file}:Iris") == tmp_path
    assert code_of("tests.fixtures.tasks:Echo").parts[-2:] == ("tests", "fixtures")
    for task in ("text-classification", "no.such.module:Iris", "nowhere.py:Iris"):
        with pytest.raises(ConfigurationError):
            code_of(task)


def test_only_code_is_looked_at(tmp_path: Path) -> None:
    for file in (
        "iris.py",
        "parts/petal.py",
        "iris.json",
        ".venv/a.py",
        "venv/lib/site-packages/b.py",
        "node_modules/c.py",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert set(_stamps(tmp_path)) == {tmp_path / "iris.py", tmp_path / "parts/petal.py"}
    assert _stamps(None) == {}


def test_how_to_ask_is_told_with_the_models_example() -> None:
    iris = model_of("iris.py:Iris", "", "float32", [])
    assert """'{"model":"iris","input":{"name":"it'"'"'s"}}'""" in how_to_ask(iris, {"example": {"name": "it's"}}, 80)
    assert '"input":"This is great!"' in how_to_ask(iris, {}, 80)
    assert '"text":"This is great!"' in how_to_ask(model_of("text-classification", "a", "float32", []), {}, 80)

"""Nothing that a task's step raises or returns gets further than its own item."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pytest

from inference_worker.children.answers import answering, preparing
from inference_worker.children.guard import OutOfMemory, run_step
from inference_worker.children.wire import Answer, Failure, Prepared
from inference_worker.tasks.protocol import Encoded, Output

ANSWER = answering(1000, with_labels=True)


class Unspeakable(Exception):
    """An error that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Trap(Mapping[str, Any]):
    """A mapping that ends the process when it is read."""

    def __getitem__(self, key: str) -> Any:
        raise SystemExit(3)

    def __iter__(self) -> Any:
        raise SystemExit(3)

    def __len__(self) -> int:
        return 1


RAISED = {
    "an error": ValueError("odd"),
    "StopIteration": StopIteration(),
    "SystemExit": SystemExit(1),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "CancelledError": asyncio.CancelledError(),
    "BaseException": BaseException("base"),
    "one that cannot be shown": Unspeakable(),
}
NUL, NOT_FINITE = {"text": "a\0b"}, {"n": [1, {"m": float("nan")}]}
RETURNED: dict[str, Any] = {
    "None": None,
    "a dict": {"label": "A"},
    "a tuple": ({"label": "A"}, 0.5),
    "confidence as text": Output({}, "0.9"),  # type: ignore[arg-type]
    "confidence is a truth": Output({}, True),
    "confidence nan": Output({}, float("nan")),
    "confidence inf": Output({}, float("inf")),
    "confidence below": Output({}, -0.1),
    "confidence above": Output({}, 1.1),
    "no JSON": Output({"label": object()}),
    "no mapping": Output(None),  # type: ignore[arg-type]
    "NUL": Output(NUL),
    "NUL in a name": Output({"a\0": 1}),
    "NUL behind a backslash": Output({"text": "\\\0"}),
    "a lone surrogate": Output({"text": "\ud800"}),
    "nan": Output(NOT_FINITE),
    "inf of numpy": Output({"n": np.float32("inf")}),
    "nan in an array": Output({"n": np.array([1.0, float("nan")])}),
    "an integer of 65 bits": Output({"n": 2**64}),
    "nested too deeply": Output(json.loads('{"a":' * 300 + "1" + "}" * 300)),
    "a fragment that is no JSON": Output({"a": orjson.Fragment(b"{")}),
    "a fragment with a lone surrogate": Output({"a": orjson.Fragment(b'"\\ud800"')}),
}


def step(bad: Callable[[], Any]) -> Callable[[Sequence[str]], Sequence[object]]:
    """A step that answers texts, and does something else for `bad`."""

    def call(batch: Sequence[str]) -> Sequence[object]:
        return [bad() if each == "bad" else Output({"text": each}, 0.5) for each in batch]

    return call


def raising(error: BaseException) -> Callable[[], Any]:
    def bad() -> Any:
        raise error

    return bad


@pytest.mark.parametrize("name", RAISED)
def test_what_an_item_raises_ends_only_that_item(name: str) -> None:
    first, failed, last = run_step(step(raising(RAISED[name])), ANSWER, ["a", "bad", "b"])
    assert (first, last) == (Answer(b'{"text":"a"}', 0.5, None), Answer(b'{"text":"b"}', 0.5, None))
    assert isinstance(failed, Failure)
    assert failed.error.startswith(type(RAISED[name]).__name__)
    assert failed.reason == "model_error"


NO_MEMORY = [
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"),
]


@pytest.mark.parametrize("error", NO_MEMORY)
def test_without_memory_nothing_more_is_computed(error: Exception) -> None:
    with pytest.raises(OutOfMemory):
        run_step(step(raising(error)), ANSWER, ["a", "bad", "b"])


@pytest.mark.parametrize("name", RETURNED)
def test_what_an_item_returns_ends_only_that_item(name: str) -> None:
    first, failed, last = run_step(step(lambda: RETURNED[name]), ANSWER, ["a", "bad", "b"])
    assert isinstance(first, Answer) and isinstance(last, Answer)
    assert isinstance(failed, Failure) and failed.reason == "bad_output"


def test_an_output_that_raises_ends_only_its_own_item() -> None:
    first, failed = run_step(step(lambda: Output(Trap())), ANSWER, ["a", "bad"])
    assert isinstance(first, Answer) and failed == Failure("model_error", "SystemExit: 3")


def test_a_result_that_is_too_large_says_so_with_figures() -> None:
    first, failed = run_step(step(lambda: Output({"text": "x" * 2000})), ANSWER, ["a", "bad"])
    told = "the model's result has 2011 bytes of JSON; at most 1000 are allowed (max_output_bytes)"
    assert isinstance(first, Answer) and failed == Failure("result_too_large", f"result_too_large: {told}")


NUMPY = {
    "numbers": ({"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True)}, b'{"a":0.5,"b":3,"c":true}'),
    "arrays": ({"a": np.array([[1, 2], [3, 4]])}, b'{"a":[[1,2],[3,4]]}'),
    "an array with gaps": ({"a": np.array([1, 2, 3])[::2]}, b'{"a":[1,3]}'),
    "an array of one": ({"a": np.array(3.5)}, b'{"a":3.5}'),
    "texts": ({"a": np.array(["x", "y"])}, b'{"a":["x","y"]}'),
    "none, and what looks like NUL": ({"a": None, "b": "\\u0000 null"}, b'{"a":null,"b":"\\\\u0000 null"}'),
    "a fragment": ({"a": orjson.Fragment(b"[null]")}, b'{"a":[null]}'),
}


@pytest.mark.parametrize("name", NUMPY)
def test_what_models_compute_with_can_be_returned(name: str) -> None:
    result, encoded = NUMPY[name]
    assert ANSWER(Output(result, np.float32(0.5))) == Answer(encoded, 0.5, None)  # type: ignore[arg-type]


def test_outputs_must_match_inputs_in_number() -> None:
    def short(batch: Sequence[str]) -> Sequence[object]:
        return [Output({"text": each}) for each in batch if each != "short"]

    good, failed = run_step(short, ANSWER, ["a", "short"])
    assert isinstance(good, Answer)
    assert failed == Failure("bad_output", "BadOutput: the model returned 0 outputs for 1 inputs")


ENCODED: list[Any] = [
    None,
    "text",
    Encoded("1", "x"),  # type: ignore[arg-type]
    Encoded(1, lambda: None),
    Encoded(-1, "x"),
]


@pytest.mark.parametrize("encoded", ENCODED)
def test_an_encoded_item_is_checked_too(encoded: object) -> None:
    good, failed = run_step(lambda batch: [Encoded(1, "x"), encoded][: len(batch)], preparing(1000, 100), ["a", "b"])
    assert isinstance(good, Prepared)
    assert isinstance(failed, Failure)


@pytest.mark.parametrize(
    ("encoded", "told"),
    [
        (Encoded(1, "x", 101), "101 chunks for this model (limits.chunks: 100)"),
        (Encoded(501, "x", 2), "1002 tokens (limits.tokens: 1000)"),
    ],
)
def test_a_text_that_is_more_than_its_version_takes_is_invalid(encoded: Encoded, told: str) -> None:
    good, refused = run_step(lambda batch: [Encoded(500, "x", 2), encoded], preparing(1000, 100), ["a", "b"])
    assert isinstance(good, Prepared) and isinstance(refused, Failure)
    assert refused.reason == "invalid_input" and refused.error.startswith("invalid_input: the input has ")
    assert told in refused.error


def test_a_label_is_told_only_if_the_task_has_a_list_of_them() -> None:
    output = Output({"label": "A"}, 1)
    assert answering(100, with_labels=True)(output) == Answer(b'{"label":"A"}', 1.0, "A")
    assert answering(100, with_labels=False)(output).label is None

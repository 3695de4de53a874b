"""What models answer, as outputs of the Open Inference Protocol v2. Pure.

Every model has the output `result`, its answers as JSON. Where a task's answers are always the same few columns, they
are the outputs that a client gets if it names none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway.protocols.v2_tensors import Tensor

RESULT = "result"

_Results = Sequence[Any]
_Column = Callable[[_Results], Tensor]


def _ranked(results: _Results) -> list[list[tuple[str, float]]]:
    """The scores of each, the best first: what was stored has another order."""
    return [sorted(each["scores"].items(), key=lambda pair: -pair[1]) for each in results]


def _label(results: _Results) -> Tensor:
    return Tensor("label", "BYTES", [len(results)], [each["label"] for each in results])


def _score(results: _Results) -> Tensor:
    return Tensor("score", "FP32", [len(results)], [each["scores"][each["label"]] for each in results])


def _labels(results: _Results) -> Tensor:
    rows = [[label for label, _ in each] for each in _ranked(results)]
    return Tensor("labels", "BYTES", [len(rows), len(rows[0])], [label for row in rows for label in row])


def _scores(results: _Results) -> Tensor:
    rows = [[score for _, score in each] for each in _ranked(results)]
    return Tensor("scores", "FP32", [len(rows), len(rows[0])], [score for row in rows for score in row])


def _embedding(results: _Results) -> Tensor:
    rows = [each["embedding"] for each in results]
    return Tensor("embedding", "FP32", [len(rows), len(rows[0])], [number for row in rows for number in row])


def _result(texts: Sequence[bytes]) -> Tensor:
    return Tensor(RESULT, "BYTES", [len(texts)], [each.decode() for each in texts])


def _text(name: str) -> Mapping[str, _Column]:
    return {name: lambda results: Tensor(name, "BYTES", [len(results)], [each[name] for each in results])}


_LABELS: Mapping[str, _Column] = {"label": _label, "score": _score, "labels": _labels, "scores": _scores}
_COLUMNS: Mapping[str, Mapping[str, _Column]] = {
    "text-classification": _LABELS,
    "zero-shot-classification": _LABELS,
    "image-classification": _LABELS,
    "feature-extraction": {"embedding": _embedding},
    "summarization": _text("summary"),
    "translation": _text("translation"),
    "text-generation": _text("text"),
}
_KINDS = {  # datatype and shape of each, for the description of a model
    **{name: ("BYTES", [-1]) for name in ("label", "summary", "translation", "text", RESULT)},
    **{"score": ("FP32", [-1]), "labels": ("BYTES", [-1, -1]), "scores": ("FP32", [-1, -1])},
    "embedding": ("FP32", [-1, -1]),
}


def names_of(task: str) -> list[str]:
    """The names of the outputs of a task, `result` last."""
    return [*_COLUMNS.get(task, {}), RESULT]


def defaults_of(task: str) -> list[str]:
    """The outputs of a request that names none."""
    return [*_COLUMNS.get(task, {})] or [RESULT]


def outputs_of(task: str) -> list[dict[str, Any]]:
    """The outputs of a task as a model's metadata has them."""
    return [{"name": each, "datatype": _KINDS[each][0], "shape": _KINDS[each][1]} for each in names_of(task)]


def tensors_of(task: str, names: Sequence[str], texts: Sequence[bytes]) -> list[Tensor]:
    """The outputs of these names, which the task has.

    Args:
        texts: the results as JSON, at least one.
    """
    results = [] if names == [RESULT] else [orjson.loads(each) for each in texts]
    return [_result(texts) if name == RESULT else _COLUMNS[task][name](results) for name in names]

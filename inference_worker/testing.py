"""For tests of models of one's own, without a stack: `from inference_worker.testing import load`.

    def test_a_small_flower_is_a_setosa():
        iris = load("my_models/iris.py:Iris")
        assert iris.predict([{"measures": [5.1, 3.5, 1.4, 0.2]}]) == [{"species": "setosa"}]

A model is loaded in this process, by the code that workers load it with. Inputs are checked and results encoded as
there.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import orjson

from inference_worker.artifact_store.trying import fetch_at_once
from inference_worker.children.answers import answering, preparing, unpacked
from inference_worker.children.guard import run_step
from inference_worker.children.wire import Failure
from inference_worker.placement import task_at
from inference_worker.tasks.declared import declared_by
from inference_worker.tasks.loading import load_task
from inference_worker.tasks.protocol import Item, Task
from shared.contract.catalogue import CPU_TOKENS, VersionSettings
from shared.contract.inputs import normal


class Failed(Exception):
    """What a caller would be told instead of a result."""


class Model:
    """A loaded model.

    Attributes:
        sample: the input that it is tried with when it is loaded; None if it names none.
        schemas: of what it takes and gives, see `inference_worker.tasks.declared`.
    """

    def __init__(self, task: Task) -> None:
        declared = declared_by(task)
        self.sample: Any = None if declared.sample is None else declared.sample.input
        self.schemas: Mapping[str, Any] = declared.schemas()
        self._sample_options = {} if declared.sample is None else dict(declared.sample.options)
        bounds = VersionSettings(version="1")
        self._prepare = preparing(bounds.limits.tokens, bounds.limits.chunks)
        self._answer = answering(bounds.max_output_bytes, with_labels=False)
        self._task = task

    def predict(self, inputs: Sequence[Any], **options: Any) -> list[Any]:
        """The result of each input, as JSON, computed in one batch.

        Raises:
            Failed: an input is refused, or the model fails for one: the message says which and why.
        """
        return [orjson.loads(each.result) for each in self._answers(inputs, options)]

    def predict_sample(self, times: int = 1) -> list[Any]:
        """The results of so many samples.

        Raises:
            Failed: the model fails for it.
        """
        return [orjson.loads(each.result) for each in self._answers([self.sample] * times, self._sample_options)]

    def _answers(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
        items = [Item(normal(each), options) for each in inputs]
        encoded = _all_good(run_step(self._task.encode, self._prepare, items))
        return _all_good(run_step(self._task.predict, self._answer, [unpacked(each) for each in encoded]))


def load(
    task: str,
    artifact: str = "",
    dtype: str = "float32",
    engine: str = "torch",
    token_budget: int = CPU_TOKENS,
    folder: str = ".",
    device: str = "auto",
) -> Model:
    """Load a model as the catalogue names it.

    Args:
        task: `my_models/iris.py:Iris`, `package.module:Class`, or a built-in one.
        artifact: its directory, `hf://owner/name@revision`, or `s3://bucket/path@sha256:…`, which is fetched first.
        folder: where the file of a class is looked for, besides the working directory.

    Raises:
        ConfigurationError: it cannot be loaded; the message says why.
    """
    with ExitStack() as held:
        located = task_at(task, folder)
        directory = fetch_at_once(artifact, task, held)
        model = Model(load_task(located, directory, dtype, token_budget, engine, device))
        weakref.finalize(model, held.pop_all().close)  # until then nobody removes what was fetched
    return model


def _all_good(answers: Sequence[Any]) -> list[Any]:
    for number, each in enumerate(answers):
        if isinstance(each, Failure):
            raise Failed(f"input {number}: {each.error}")
    return list(answers)

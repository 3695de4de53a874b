"""Tasks of the user's own: a class of a package (`package.module:Class`) or of a file anywhere (`iris.py:Iris`).

A class with nothing but `predict(self, inputs)` is enough; one with `encode` too works as the built-in tasks do (see
`inference_worker.tasks.protocol`). It is made without arguments, or with as many as it takes of: the artifact's
location, the dtype, the token budget, the device.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from inference_worker.tasks.declared import Declared, Declaring
from inference_worker.tasks.objects import has_fields
from inference_worker.tasks.progress import PARAMETER, UNTOLD, Telling, takes_progress
from inference_worker.tasks.protocol import Encoded, Item, Output, Task
from shared.contract.errors import ConfigurationError


def load_custom(task: str, *arguments: str | int) -> Task:
    """Import a class and make the task of it.

    Raises:
        ConfigurationError: there is none, its module cannot be imported, or it is not a task.
    """
    name, _, class_name = task.rpartition(":")
    module = _imported(task, name)
    made = getattr(module, class_name, None)
    if made is None:
        there = ", ".join(each for each, value in vars(module).items() if inspect.isclass(value) and each[0] != "_")
        raise ConfigurationError(f"{name} has no class {class_name!r}; it has: {there or 'none'}")
    if not callable(made) or not hasattr(made, "predict"):
        raise ConfigurationError(f"{task!r} is not a task: it needs a method predict(self, inputs)")
    model = made(*arguments[: _takes(made, len(arguments))])
    own: Task = model if hasattr(model, "encode") else Plain(model)
    declared = Declared(model)
    return Declaring(own, declared) if declared.anything else own


def import_also_from(folder: str) -> None:
    """Let modules of a folder be imported: after those of the standard library, before installed packages."""
    installed = sysconfig.get_path("purelib")
    sys.path.insert(sys.path.index(installed) if installed in sys.path else len(sys.path), folder)


class Plain:
    """A class with `predict(self, inputs)`, as a task: one result for each input, in order.

    An input is a text, the JSON that was sent, or an instance of the class's `Input`. A `predict` with a second
    parameter is given the options of each, and one with `progress` may say how far it is (see
    `inference_worker.tasks.progress`).
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._with_progress = takes_progress(model.predict)
        self._with_options = _takes(model.predict, 2) > 1
        self.labels = getattr(model, "labels", ())
        self.sample: Any = getattr(model, "sample", None)

    def encode(self, items: Sequence[Item]) -> list[Encoded]:
        """Each as it is."""
        return [Encoded(1, (item.input, item.options)) for item in items]

    def predict(self, batch: Sequence[Encoded], progress: Telling = UNTOLD) -> list[Output]:
        """What the class returns."""
        given = [[each.data[0] for each in batch], [each.data[1] for each in batch]]
        told = {PARAMETER: progress} if self._with_progress else {}
        results = self._model.predict(*given[: 2 if self._with_options else 1], **told)
        if isinstance(results, str | bytes | Mapping) or not hasattr(results, "__iter__"):
            raise TypeError(f"predict returned a {type(results).__name__}, not a list with a result for each input")
        return [_output(each) for each in results]


def _output(result: Any) -> Output:
    if isinstance(result, Output):
        return result
    return Output(result if isinstance(result, Mapping) or has_fields(result) else {"value": result})


def _imported(task: str, name: str) -> ModuleType:
    try:
        return _from_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except ConfigurationError:
        raise
    except Exception as error:
        where = [each for each in traceback.extract_tb(error.__traceback__) if _is_users(each.filename)]
        line = f" ({where[-1].filename}, line {where[-1].lineno})" if where else ""
        hint = "; a package that it needs belongs into `requirements`" if isinstance(error, ImportError) else ""
        said = f"{type(error).__name__}: {error}"
        raise ConfigurationError(f"cannot import the task {task!r}: {said}{line}{hint}") from error


def _from_file(path: Path) -> ModuleType:
    """The module of a file, which may import its neighbours."""
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}")
    import_also_from(str(path.resolve().parent))
    spec = importlib.util.spec_from_file_location(f"task_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _is_users(file: str) -> bool:
    return not file.startswith((sysconfig.get_path("stdlib"), "<")) and file != __file__


def _takes(call: Any, most: int) -> int:
    """How many of `most` positional arguments it takes, besides `progress`."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):  # it is not written in Python
        return most
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return most
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return min(most, sum(each.name != PARAMETER for each in positional))

"""What a task declares that it takes and gives: `Input`, `Options` and `Output`, pydantic models of its class.

An input that is no `Input` is refused with the place of what is wrong, before the model sees it; the model gets an
instance. Their JSON Schemas are shown to callers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import to_jsonable_python

from inference_worker.tasks.progress import PARAMETER, UNTOLD, Telling, takes_progress
from inference_worker.tasks.protocol import Encoded, InvalidInput, InvalidOptions, Item, Output, Task
from shared.contract.errors import ConfigurationError

NAMES = ("Input", "Options", "Output")


class Declared:
    """What one task declares.

    Attributes:
        sample: what it is tried with: its own, or the first example of its `Input`; None for none.
    """

    def __init__(self, task: Any) -> None:
        """Raises:
        ConfigurationError: something that is declared is nothing that pydantic can validate.
        """
        self._adapters = {name: _adapter(name, kind) for name in NAMES if (kind := getattr(task, name, None))}
        self._has_text = "Input" in self._adapters and _has_text(self._adapters["Input"])
        self.sample = self._sample(getattr(task, "sample", None))

    @property
    def anything(self) -> bool:
        """Whether there is something to check."""
        return bool(self._adapters)

    def checked(self, item: Item) -> Item:
        """The item as the model gets it.

        Raises:
            InvalidInput: the input is no `Input`, or the options are no `Options`.
        """
        given = item.input
        if self._has_text and isinstance(given, str):
            given = {"text": given}  # an object with nothing else is read as a text
        value = self._valid("Input", given, InvalidInput)
        options = self._valid("Options", dict(item.options), InvalidOptions)
        return Item(value, options)

    def result(self, output: Output) -> Output:
        """The output, if it is an `Output`.

        Raises:
            ValueError: it is not.
        """
        adapter = self._adapters.get("Output")
        if adapter is None:
            return output
        try:
            valid = adapter.validate_python(output.result, from_attributes=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise ValueError(f"the result is no Output: {place}: {first['msg']}") from None
        return Output(valid, output.confidence)

    def schemas(self) -> dict[str, Any]:
        """JSON Schemas by `input`, `options` and `output`, an `example` and its `example_options`; of what there is.

        Raises:
            ConfigurationError: there is no JSON Schema of one.
        """
        try:
            found: dict[str, Any] = {
                name.lower(): each.json_schema(mode="serialization" if name == "Output" else "validation")
                for name, each in self._adapters.items()
            }
        except (PydanticInvalidForJsonSchema, PydanticUserError) as error:
            raise ConfigurationError(f"what the task declares has no JSON Schema: {error}") from error
        if self.sample is not None:
            found["example"] = to_jsonable_python(self.sample.input)
            if self.sample.options:
                found["example_options"] = to_jsonable_python(dict(self.sample.options))
        return found

    def _sample(self, given: Any) -> Item | None:
        if given is not None:
            return given if isinstance(given, Item) else Item(given)
        adapter = self._adapters.get("Input")
        examples = adapter.json_schema().get("examples") if adapter else None
        return Item(examples[0]) if examples else None

    def _valid(self, name: str, value: Any, refusal: Callable[..., InvalidInput]) -> Any:
        adapter = self._adapters.get(name)
        if adapter is None:
            return value
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            raise refusal(f"{errors[0]['msg']}{more}", *errors[0]["loc"]) from None


class Declaring:
    """A task whose inputs and results are what it declares."""

    def __init__(self, task: Any, declared: Declared) -> None:
        self._task, self.declared = task, declared
        self._with_progress = takes_progress(task.predict)
        self.sample: Any = declared.sample
        self.labels = getattr(task, "labels", ())

    def encode(self, items: Sequence[Item]) -> Sequence[Encoded]:
        """See `Task`."""
        encoded: Sequence[Encoded] = self._task.encode([self.declared.checked(each) for each in items])
        return encoded

    def predict(self, batch: Sequence[Encoded], progress: Telling = UNTOLD) -> Sequence[Output]:
        """See `Task`."""
        told = {PARAMETER: progress} if self._with_progress else {}
        outputs = self._task.predict(batch, **told)
        return [self.declared.result(each) if isinstance(each, Output) else each for each in outputs]


def declared_by(task: Task) -> Declared:
    """What a task declares, whichever way it was loaded."""
    return task.declared if isinstance(task, Declaring) else Declared(task)


def _has_text(adapter: TypeAdapter[Any]) -> bool:
    """Whether it is of objects that may have a `text`."""
    try:
        schema = adapter.json_schema()
    except (PydanticInvalidForJsonSchema, PydanticUserError):  # which `schemas` tells
        return False
    named = schema.get("$defs", {}).get(schema.get("$ref", "").rpartition("/")[2], schema)
    return "text" in named.get("properties", {})


def _adapter(name: str, kind: Any) -> TypeAdapter[Any]:
    try:
        adapter = TypeAdapter(kind)
        adapter.rebuild(raise_errors=True)
        return adapter
    except (PydanticUserError, TypeError, NameError) as error:
        raise ConfigurationError(f"`{name}` of the task is no type that pydantic can validate: {error}") from error

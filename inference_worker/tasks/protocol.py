"""The protocol between the worker's loop and a loaded model.

A task is one model version loaded and ready. The worker calls `encode` for the next batch while `predict` runs for the
current one, each in a thread, never two calls of the same method at once. Both may raise: the worker then tries each
item alone, so that one bad item never fails its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class InvalidInput(Exception):
    """An input that the model does not take: the caller is told why, as a mistake of its own.

    Args:
        path: where in the input: names and indices, as in `InvalidInput("must be positive", "petals", 2)`.
    """

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path


class InvalidOptions(InvalidInput):
    """Options that the model does not take; the path is one in the options."""


@dataclass(frozen=True, slots=True)
class Item:
    """What to predict for, with the request's options (see `shared.contract.options`).

    Attributes:
        input: a text, or any other JSON value.
    """

    input: Any
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The text.

        Raises:
            InvalidInput: the input is something else.
        """
        if not isinstance(self.input, str):
            raise InvalidInput("must be a text: a string, or an object with nothing but a string `text`")
        return self.input


@dataclass(frozen=True, slots=True)
class Encoded:
    """An item as the model reads it.

    Attributes:
        tokens: length in tokens of its longest row; the batching policy sorts and limits by it.
        rows: how many rows of a batch it takes (a long text is several chunks).
        data: whatever `predict` needs; only the task that made it looks inside.
    """

    tokens: int
    data: Any
    rows: int = 1


@dataclass(frozen=True, slots=True)
class Output:
    """What the model answers.

    Attributes:
        result: the JSON object that the client gets as `result`.
        confidence: the score of the answer in 0..1; None if the task has none.
    """

    result: Mapping[str, Any]
    confidence: float | None = None


class Task(Protocol):
    """One loaded model version.

    A task whose results have a `label` from a fixed list may name that list in an attribute `labels`; the worker then
    counts how often each label is the answer.

    Attributes:
        sample: an item, or of a class of the user's own just an input, to warm up with; such a class may have none.
    """

    sample: Item

    def encode(self, items: Sequence[Item]) -> Sequence[Encoded]:
        """Tokenize; the answer has one `Encoded` per item, in order."""

    def predict(self, batch: Sequence[Encoded]) -> Sequence[Output]:
        """Run the model; the answer has one `Output` per encoded item, in order.

        One with a parameter `progress` may say meanwhile how far it is, see `inference_worker.tasks.progress`.
        """

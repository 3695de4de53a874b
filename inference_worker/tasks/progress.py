"""How a task says how far it is with the items of a batch: for who watches a prediction that takes long.

    def predict(self, inputs, progress):
        for index, each in enumerate(inputs):
            progress(index, 0.5)  # half of it is done
            progress(index, text="What is written so far")

A `predict` with a parameter `progress` is given this; others need not know of it. It may be called as often as one
likes: of each item what is said in the first 250 ms, and then all but four times a second, is dropped.
`progress.due(index)` says whether it would not be, so that no text is made in vain. `progress.stopped(index)` says that
nobody wants the item any more, as it was cancelled: whatever is answered for it then is dropped.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any

from shared.contract.progress import Progress, progress_of

EVERY_S = 0.25
PARAMETER = "progress"


class Telling:
    """What `predict` calls; the items are those of the batch that it is called with, counted from 0."""

    def __init__(
        self,
        numbers: Sequence[int],
        due_at: list[float],
        send: Callable[[int, Progress], None],
        is_stopped: Callable[[int], bool],
    ) -> None:
        self._numbers, self._due_at, self._send, self._is_stopped = numbers, due_at, send, is_stopped

    def due(self, index: int) -> bool:
        """Whether what is told of an item now is passed on."""
        return time.monotonic() >= self._due_at[self._numbers[index]]

    def stopped(self, index: int) -> bool:
        """Whether nobody wants an item any more: it may be left as it is."""
        return self._is_stopped(self._numbers[index])

    def __call__(self, index: int, share: float | None = None, text: str | None = None) -> None:
        """Tell how far an item is.

        Args:
            share: of the work that is done, 0 to 1.
            text: all that is written so far.
        """
        number = self._numbers[index]
        if time.monotonic() >= self._due_at[number]:
            self._due_at[number] = time.monotonic() + EVERY_S
            self._send(number, progress_of(share, text))


class Untold(Telling):
    """Told to nobody."""

    def __init__(self) -> None:
        super().__init__((), [], lambda *_: None, lambda _: False)

    def due(self, index: int) -> bool:
        """Never."""
        return False

    def stopped(self, index: int) -> bool:
        """Never."""
        return False

    def __call__(self, index: int, share: float | None = None, text: str | None = None) -> None:
        """Nothing."""


UNTOLD = Untold()


def telling(
    predict: Callable[..., Sequence[Any]],
    batch: Sequence[Any],
    send: Callable[[int, Progress], None],
    is_stopped: Callable[[int], bool] = lambda _: False,
) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """`predict`, for parts of one batch: what it tells is sent with the item's place in that batch."""
    if not takes_progress(predict):
        return predict
    places = {id(each): place for place, each in enumerate(batch)}
    due_at = [time.monotonic() + EVERY_S] * len(batch)

    def of_part(part: Sequence[Any]) -> Sequence[Any]:
        return predict(part, progress=Telling([places[id(each)] for each in part], due_at, send, is_stopped))

    return of_part


def takes_progress(predict: Callable[..., Any]) -> bool:
    """Whether it has a parameter of that name."""
    try:
        return PARAMETER in inspect.signature(predict).parameters
    except (TypeError, ValueError):  # it is not written in Python
        return False

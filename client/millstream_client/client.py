"""The client that blocks."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import millstream_client.transport as transport
from millstream_client.batches import MOST_INPUTS, batches
from millstream_client.calls import Steps
from millstream_client.connection import Connection
from millstream_client.event_stream import POLL_S, EventStream, NoEvents, noticed
from millstream_client.in_order import in_order
from millstream_client.operations import Asked, Operations, new_key, successful
from millstream_client.results import DeadLetter, Event, Model, Prediction, Unfinished
from millstream_client.retrying import Patience
from millstream_client.senders import Sender

T = TypeVar("T")


class Millstream:
    """A server, asked with calls that block. May be used by several threads at once.

    Args:
        url: where it is; default: MILLSTREAM_URL, or else http://localhost:8000.
        token: a token or an API key; default: MILLSTREAM_TOKEN.
        token_file: a file that holds it, read at each request; default: MILLSTREAM_TOKEN_FILE.
        patience_s: how long to go on trying while the server is unreachable, overloaded, or says that a limit is
            reached. Nothing is predicted twice by that. 0: nothing is tried twice.

    Every method raises `MillstreamError`s: see `millstream_client.errors`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        patience_s: float = 60,
    ) -> None:
        self.connection = Connection.of(url, token, token_file)
        self._patience = Patience(patience_s, random.random)
        self._operations = Operations(self._patience)
        self._sender = Sender(self.connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._sender.close()

    def predict(
        self,
        model: str,
        given: Any,
        *,
        timeout_s: float = 300,
        idempotency_key: str | None = None,
        **asked: Unpack[Asked],
    ) -> Prediction:
        """Predict for one input, a text or any other JSON that the model takes, and wait for it.

        Raises:
            PredictionFailed: it did not succeed.
            NotFinished: it was not finished in `timeout_s` seconds; it goes on.
        """
        return self._sender.run(self._operations.predict(model, given, asked, idempotency_key or new_key(), timeout_s))

    def predict_many(
        self,
        model: str,
        inputs: Iterable[Any],
        *,
        batch_size: int = MOST_INPUTS,
        concurrency: int = 4,
        timeout_s: float = 3600,
        **asked: Unpack[Asked],
    ) -> Iterator[Prediction]:
        """Predict for any number of inputs; one prediction for each, in their order.

        Inputs are taken as they are needed: at most `batch_size` × `concurrency` are under way. What fails, or is no
        input that the model takes, does not end the others: look at `succeeded`.
        """
        stop = threading.Event()
        tasks = (
            partial(self._sender.run, self._operations.batch(model, batch, asked, new_key(), timeout_s), stop)
            for batch in batches(inputs, batch_size)
        )
        try:
            for predictions in in_order(tasks, concurrency):
                yield from predictions
        finally:
            stop.set()

    def submit(self, model: str, given: Any, *, idempotency_key: str | None = None, **asked: Unpack[Asked]) -> Job:
        """Predict for one input, without waiting for it."""
        state = self._sender.run(self._operations.submit(model, given, asked, idempotency_key or new_key()))
        return Job(self, state.prediction_id)

    def job(self, prediction_id: str) -> Job:
        """A prediction that was submitted before."""
        return Job(self, prediction_id)

    def read(self, prediction_id: str, *, wait_s: float = 0) -> Prediction | Unfinished:
        """One prediction as it is now, or as it is after waiting for its end for at most so many seconds (up to 60)."""
        return self._sender.run(self._operations.read(prediction_id, wait_s))

    def wait(self, prediction_id: str, *, timeout_s: float = 300) -> Prediction:
        """Wait for one prediction.

        Raises:
            PredictionFailed: it did not succeed.
            NotFinished: it was not finished in time; it goes on.
        """
        return successful(self._sender.run(self._operations.awaited(prediction_id, timeout_s)))

    def cancel(self, prediction_id: str) -> Prediction | Unfinished:
        """Cancel one prediction; if it was running, it is asked to stop, and may finish all the same.

        Raises:
            Conflict: it is finished.
        """
        return self._sender.run(self._operations.cancel(prediction_id))

    def events(self, prediction_id: str | None = None) -> Iterator[Event]:
        """What happens to one prediction until it is finished; without an id what happens on the server, without end.

        Goes on where it was after it was cut off. From a server that has no events, those of a prediction are made by
        asking for its state every two seconds.

        Raises:
            NotFound: the server has no events, and no prediction is named.
        """
        stream = EventStream.of(prediction_id, self._patience)
        try:
            yield from self._sender.events(stream)
        except NoEvents as error:
            if prediction_id is None:
                raise transport.cause(error) from None
            yield from self._polled(prediction_id)

    def predictions(self, **filters: Any) -> Iterator[Prediction | Unfinished]:
        """Predictions, newest first, of all pages: read as they are needed.

        Args:
            filters: `model`, `version`, `status`, `since`, `until`, `tag`, as the API takes them.
        """
        return self._pages(lambda cursor: self._operations.predictions({**filters, "cursor": cursor}))

    def feedback(self, prediction_id: str, *, correct: bool | None = None, label: str | None = None) -> None:
        """Say whether an answer was `correct`, or which `label` would have been."""
        self._sender.run(self._operations.feedback(prediction_id, correct, label))

    def models(self) -> list[Model]:
        """All models."""
        return self._sender.run(self._operations.models())

    def model(self, name: str) -> Model:
        """One model, with the JSON Schemas of what it takes and gives."""
        return self._sender.run(self._operations.model(name))

    def dead_letters(self) -> Iterator[DeadLetter]:
        """What was given up on, newest first; read as it is needed."""
        return self._pages(self._operations.dead_letters)

    def replay_dead_letter(self, dead_letter_id: str) -> Job:
        """Try a dead letter again."""
        return Job(self, self._sender.run(self._operations.replay_dead_letter(dead_letter_id)).prediction_id)

    def delete_dead_letter(self, dead_letter_id: str) -> None:
        """Delete a dead letter."""
        self._sender.run(self._operations.delete_dead_letter(dead_letter_id))

    def health(self) -> Mapping[str, Any]:
        """Health of the server and its stores."""
        return self._sender.run(self._operations.health())

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Anything else of the API, such as `call("GET", "/api/v1/usage")`; its JSON."""
        return self._sender.run(self._operations.call(method, path, body))

    def _pages(self, page: Callable[[str | None], Steps[tuple[list[T], str | None]]]) -> Iterator[T]:
        cursor: str | None = None
        while True:
            items, cursor = self._sender.run(page(cursor))
            yield from items
            if cursor is None:
                return

    def _polled(self, prediction_id: str) -> Iterator[Event]:
        shown: tuple[Any, ...] = ()
        while True:
            state = self.read(prediction_id, wait_s=POLL_S if shown else 0)
            if isinstance(state, Prediction):
                yield Event("result", state.raw)
                return
            if noticed(state) != shown:
                shown = noticed(state)
                yield Event("state", state.raw)


class Job:
    """A prediction that was submitted.

    Attributes:
        id: its id.
    """

    def __init__(self, client: Millstream, prediction_id: str) -> None:
        self._client = client
        self.id = prediction_id

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def read(self) -> Prediction | Unfinished:
        """As it is now."""
        return self._client.read(self.id)

    def wait(self, timeout_s: float = 300) -> Prediction:
        """See `Millstream.wait`."""
        return self._client.wait(self.id, timeout_s=timeout_s)

    def events(self) -> Iterator[Event]:
        """See `Millstream.events`."""
        return self._client.events(self.id)

    def cancel(self) -> Prediction | Unfinished:
        """See `Millstream.cancel`."""
        return self._client.cancel(self.id)

"""The client for asyncio."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import millstream_client.transport as transport
from millstream_client.batches import MOST_INPUTS, batches_async
from millstream_client.calls import Steps
from millstream_client.connection import Connection
from millstream_client.event_stream import POLL_S, EventStream, NoEvents, noticed
from millstream_client.in_order import in_order_async
from millstream_client.operations import Asked, Operations, new_key, successful
from millstream_client.results import DeadLetter, Event, Model, Prediction, Unfinished
from millstream_client.retrying import Patience
from millstream_client.senders import AsyncSender

T = TypeVar("T")


class AsyncMillstream:
    """A server, asked with coroutines of asyncio; all else is as in `Millstream`."""

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
        self._sender = AsyncSender(self.connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        await self._sender.aclose()

    async def predict(
        self,
        model: str,
        given: Any,
        *,
        timeout_s: float = 300,
        idempotency_key: str | None = None,
        **asked: Unpack[Asked],
    ) -> Prediction:
        """See `Millstream.predict`."""
        return await self._sender.run(
            self._operations.predict(model, given, asked, idempotency_key or new_key(), timeout_s)
        )

    async def predict_batch(
        self,
        model: str,
        inputs: list[Any],
        *,
        timeout_s: float = 3600,
        idempotency_key: str | None = None,
        **asked: Unpack[Asked],
    ) -> list[Prediction]:
        """Predict for several inputs in one request; one prediction for each, whether it succeeded or not."""
        key = idempotency_key or new_key()
        return await self._sender.run(self._operations.batch(model, inputs, asked, key, timeout_s))

    async def predict_many(
        self,
        model: str,
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        batch_size: int = MOST_INPUTS,
        concurrency: int = 4,
        timeout_s: float = 3600,
        **asked: Unpack[Asked],
    ) -> AsyncIterator[Prediction]:
        """See `Millstream.predict_many`; inputs may come asynchronously."""

        async def tasks() -> AsyncIterator[Coroutine[Any, Any, list[Prediction]]]:
            async for batch in batches_async(inputs, batch_size):
                yield self._sender.run(self._operations.batch(model, batch, asked, new_key(), timeout_s))

        async for predictions in in_order_async(tasks(), concurrency):
            for each in predictions:
                yield each

    async def submit(
        self, model: str, given: Any, *, idempotency_key: str | None = None, **asked: Unpack[Asked]
    ) -> AsyncJob:
        """See `Millstream.submit`."""
        state = await self._sender.run(self._operations.submit(model, given, asked, idempotency_key or new_key()))
        return AsyncJob(self, state.prediction_id)

    def job(self, prediction_id: str) -> AsyncJob:
        """A prediction that was submitted before."""
        return AsyncJob(self, prediction_id)

    async def read(self, prediction_id: str, *, wait_s: float = 0) -> Prediction | Unfinished:
        """See `Millstream.read`."""
        return await self._sender.run(self._operations.read(prediction_id, wait_s))

    async def wait(self, prediction_id: str, *, timeout_s: float = 300) -> Prediction:
        """See `Millstream.wait`."""
        return successful(await self._sender.run(self._operations.awaited(prediction_id, timeout_s)))

    async def cancel(self, prediction_id: str) -> Prediction | Unfinished:
        """See `Millstream.cancel`."""
        return await self._sender.run(self._operations.cancel(prediction_id))

    async def events(self, prediction_id: str | None = None) -> AsyncIterator[Event]:
        """See `Millstream.events`."""
        stream = EventStream.of(prediction_id, self._patience)
        try:
            async for event in self._sender.events(stream):
                yield event
        except NoEvents as error:
            if prediction_id is None:
                raise transport.cause(error) from None
            async for event in self._polled(prediction_id):
                yield event

    def predictions(self, **filters: Any) -> AsyncIterator[Prediction | Unfinished]:
        """See `Millstream.predictions`."""
        return self._pages(lambda cursor: self._operations.predictions({**filters, "cursor": cursor}))

    async def feedback(self, prediction_id: str, *, correct: bool | None = None, label: str | None = None) -> None:
        """See `Millstream.feedback`."""
        await self._sender.run(self._operations.feedback(prediction_id, correct, label))

    async def models(self) -> list[Model]:
        """See `Millstream.models`."""
        return await self._sender.run(self._operations.models())

    async def model(self, name: str) -> Model:
        """See `Millstream.model`."""
        return await self._sender.run(self._operations.model(name))

    def dead_letters(self) -> AsyncIterator[DeadLetter]:
        """See `Millstream.dead_letters`."""
        return self._pages(self._operations.dead_letters)

    async def replay_dead_letter(self, dead_letter_id: str) -> AsyncJob:
        """See `Millstream.replay_dead_letter`."""
        state = await self._sender.run(self._operations.replay_dead_letter(dead_letter_id))
        return AsyncJob(self, state.prediction_id)

    async def delete_dead_letter(self, dead_letter_id: str) -> None:
        """See `Millstream.delete_dead_letter`."""
        await self._sender.run(self._operations.delete_dead_letter(dead_letter_id))

    async def health(self) -> Mapping[str, Any]:
        """See `Millstream.health`."""
        return await self._sender.run(self._operations.health())

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """See `Millstream.call`."""
        return await self._sender.run(self._operations.call(method, path, body))

    async def _pages(self, page: Callable[[str | None], Steps[tuple[list[T], str | None]]]) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            items, cursor = await self._sender.run(page(cursor))
            for each in items:
                yield each
            if cursor is None:
                return

    async def _polled(self, prediction_id: str) -> AsyncIterator[Event]:
        shown: tuple[Any, ...] = ()
        while True:
            state = await self.read(prediction_id, wait_s=POLL_S if shown else 0)
            if isinstance(state, Prediction):
                yield Event("result", state.raw)
                return
            if noticed(state) != shown:
                shown = noticed(state)
                yield Event("state", state.raw)


class AsyncJob:
    """A prediction that was submitted.

    Attributes:
        id: its id.
    """

    def __init__(self, client: AsyncMillstream, prediction_id: str) -> None:
        self._client = client
        self.id = prediction_id

    def __repr__(self) -> str:
        return f"AsyncJob({self.id!r})"

    async def read(self) -> Prediction | Unfinished:
        """As it is now."""
        return await self._client.read(self.id)

    async def wait(self, timeout_s: float = 300) -> Prediction:
        """See `Millstream.wait`."""
        return await self._client.wait(self.id, timeout_s=timeout_s)

    def events(self) -> AsyncIterator[Event]:
        """See `Millstream.events`."""
        return self._client.events(self.id)

    async def cancel(self) -> Prediction | Unfinished:
        """See `Millstream.cancel`."""
        return await self._client.cancel(self.id)

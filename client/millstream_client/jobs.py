"""A prediction that was submitted, as whoever submitted it holds it: with a client of either kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from millstream_client.results import Event, Prediction, Unfinished

if TYPE_CHECKING:
    from millstream_client.aio import AsyncMillstream
    from millstream_client.client import Millstream


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

"""Batching publishes, for speed: requests that arrive while their stream is being published to go into the next call.

At most one script call per stream is in flight. A lone request is published at once; under load, all that arrived
meanwhile share one round trip, one script run and, with `appendfsync always`, one disk flush.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shared.streams.publishing import Group, Published, Publisher

MAX_REQUESTS_A_CALL = 500

_Stream = tuple[str, str]
_Waiting = tuple[Group, "asyncio.Future[Published]"]


class Submissions:
    """Collects groups of requests and publishes them together."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._collected: dict[_Stream, list[_Waiting]] = {}
        self._calls: dict[_Stream, asyncio.Task[None]] = {}

    async def submit(self, model: str, version: str, group: Group) -> Published:
        """Publish a group, together with others. The publish goes on even if the caller is cancelled.

        Raises:
            StoreUnavailable: Redis cannot be reached or is full.
        """
        stream = (model, version)
        future: asyncio.Future[Published] = asyncio.get_running_loop().create_future()
        self._collected.setdefault(stream, []).append((group, future))
        if stream not in self._calls:
            self._calls[stream] = asyncio.create_task(self._publish_collected(stream), name="publish")
        return await future

    async def _publish_collected(self, stream: _Stream) -> None:
        """Publish what has been collected, and what is collected meanwhile, until nothing is left."""
        try:
            while collected := self._collected.pop(stream, None):
                for part in _parts(collected):
                    await self._publish(stream, part)
        finally:
            del self._calls[stream]

    async def _publish(self, stream: _Stream, waiting: Sequence[_Waiting]) -> None:
        try:
            answers = await self._publisher.publish(*stream, [group for group, _ in waiting])
        except Exception as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), published in zip(waiting, answers, strict=True):
            if not future.done():
                future.set_result(published)


def _parts(waiting: Sequence[_Waiting]) -> list[list[_Waiting]]:
    """Split into calls of limited size, so that no call blocks Redis for long."""
    parts: list[list[_Waiting]] = []
    size = MAX_REQUESTS_A_CALL
    for each in waiting:
        if size + len(each[0].requests) > MAX_REQUESTS_A_CALL:
            parts.append([])
            size = 0
        parts[-1].append(each)
        size += len(each[0].requests)
    return parts

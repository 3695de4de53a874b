"""Publishing in company: all requests that arrive in one tick of the event loop go to Redis in one script call a
stream. One round trip, one script start and, with `appendfsync always`, one disk flush serve them all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shared.publishing import Group, Publisher, Verdict

MAX_REQUESTS_A_CALL = 500

_Stream = tuple[str, str]
_Waiting = tuple[Group, "asyncio.Future[Verdict]"]


class Submissions:
    """Collects groups of requests and publishes them together."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._collected: dict[_Stream, list[_Waiting]] = {}
        self._calls: set[asyncio.Task[None]] = set()

    async def submit(self, model: str, version: str, group: Group) -> Verdict:
        """Publish one group with whatever else arrives in this tick. The publish goes on if the caller is cancelled.

        Raises:
            StoreUnavailable: Redis cannot be reached or is full.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Verdict] = loop.create_future()
        if not self._collected:
            loop.call_soon(self._flush)
        self._collected.setdefault((model, version), []).append((group, future))
        return await future

    def _flush(self) -> None:
        collected, self._collected = self._collected, {}
        for stream, waiting in collected.items():
            for part in _parts(waiting):
                call = asyncio.create_task(self._publish(stream, part), name="publish")
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)

    async def _publish(self, stream: _Stream, waiting: Sequence[_Waiting]) -> None:
        try:
            verdicts = await self._publisher.publish(*stream, [group for group, _ in waiting])
        except Exception as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), verdict in zip(waiting, verdicts, strict=True):
            if not future.done():
                future.set_result(verdict)


def _parts(waiting: Sequence[_Waiting]) -> list[list[_Waiting]]:
    """Cut what one call may carry, so that no call holds Redis for long."""
    parts: list[list[_Waiting]] = []
    size = MAX_REQUESTS_A_CALL
    for each in waiting:
        if size + len(each[0]) > MAX_REQUESTS_A_CALL:
            parts.append([])
            size = 0
        parts[-1].append(each)
        size += len(each[0])
    return parts

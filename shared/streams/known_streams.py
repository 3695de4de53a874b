"""Which request streams have entries, whatever a catalogue says today.

A version that leaves the catalogue (removed, renamed, inactive) may leave requests behind. Their deadlines hold all the
same, so they are found in Redis and not in one process's catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from shared.streams.redis_errors import redis_errors
from shared.streams.request_stream import RequestStream
from shared.streams.shard import Shard


class KnownStreams:
    """The request streams of a shard.

    Args:
        expected: gives the labels (`model:version`) of the versions that the catalogue serves now.
        consumer: who uses the streams.
    """

    def __init__(self, shard: Shard, expected: Callable[[], Iterable[str]], consumer: str) -> None:
        self._shard = shard
        self._expected = expected
        self._consumer = consumer

    async def with_entries(self) -> set[str]:
        """The labels of the streams that have entries.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            found = cast(list[bytes], await self._shard.redis.hkeys(self._shard.keys.backlog_bytes))
        return {label.decode(errors="replace") for label in found}

    async def orphans(self) -> list[RequestStream]:
        """The streams with entries of versions that the catalogue does not serve.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        labels = sorted(await self.with_entries() - set(self._expected()))
        names = (label.partition(":") for label in labels)
        return [RequestStream(self._shard, model, version, self._consumer) for model, _, version in names if version]

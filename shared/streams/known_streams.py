"""Which request streams have entries, whatever a catalogue says today.

A version that leaves the catalogue (removed, renamed, inactive) may leave requests behind. Their deadlines hold all the
same, so they are found in Redis and not in one process's catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from shared.contract.queues import Queue
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
        """The labels of the versions (`model:version`) of which either stream has entries.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        return {each.version_label for each in await self.queues()}

    async def queues(self) -> list[Queue]:
        """The queues whose streams have entries.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            return queues_with_entries(cast(list[bytes], await self._shard.redis.hkeys(self._shard.keys.backlog_bytes)))

    async def orphans(self) -> list[RequestStream]:
        """The streams with entries of versions that the catalogue does not serve.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        return [
            RequestStream(self._shard, each.model, each.version, self._consumer, each.priority)
            for each in orphans_of(await self.queues(), self._expected())
        ]


def queues_with_entries(labels: Iterable[bytes]) -> list[Queue]:
    """The queues of the fields of the hash that counts the bytes that wait."""
    return sorted(Queue.of(label.decode(errors="replace")) for label in labels)


def orphans_of(queues: Iterable[Queue], expected: Iterable[str]) -> list[Queue]:
    """Those of versions other than the expected ones, which are given by their labels."""
    labels = set(expected)
    return [each for each in queues if each.version and each.version_label not in labels]

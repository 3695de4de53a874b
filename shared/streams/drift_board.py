"""How far the answers of versions have moved: written by the persister that measures it, read by gateways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import orjson

from shared.streams.redis_errors import redis_errors
from shared.streams.shard import Shard

FORGOTTEN_AFTER_S = 3600  # unless an interval is longer


class DriftBoard:
    """The indexes that were measured last, by the labels of versions."""

    def __init__(self, shard: Shard) -> None:
        self._redis, self._keys = shard.redis, shard.keys

    async def tell(self, label: str, indexes: Mapping[str, float], interval_s: float) -> None:
        """Write the index of each signal, for a while.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        ttl_s = max(FORGOTTEN_AFTER_S, round(3 * interval_s))
        with redis_errors():
            await self._redis.set(self._keys.drift(label), orjson.dumps(indexes), ex=ttl_s)

    async def read(self, labels: Sequence[str]) -> dict[str, bytes]:
        """Indexes by signal, as JSON, of those versions for which there are any.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            found = await self._redis.mget([self._keys.drift(each) for each in labels])
        return {label: cast(bytes, text) for label, text in zip(labels, found, strict=True) if text is not None}

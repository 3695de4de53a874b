"""A shard: one Redis of a deployment. All access to it is created from a `Shard`.

There is one shard today, number 0. Each prediction id contains the number of the shard that its request went to (see
`shared.contract.ids`), so more shards will need no lookup table.
"""

from __future__ import annotations

from typing import NamedTuple

from redis.asyncio import Redis

from shared.contract.keys import Keys
from shared.service.settings import Settings
from shared.streams.redis_client import MOST_CONNECTIONS, Script, connect


class Shard(NamedTuple):
    """One Redis of a deployment.

    Attributes:
        redis: a client; it connects on first use.
        keys: the names of its keys.
        number: 0 to 4095.
    """

    redis: Redis
    keys: Keys
    number: int = 0

    def script(self, name: str) -> Script:
        """The script of that name in `shared/streams/lua`, for this Redis."""
        return Script(self.redis, name)

    async def close(self) -> None:
        """Close all connections."""
        await self.redis.aclose()


def open_shard(settings: Settings, *, retry_once: bool = False, most_connections: int = MOST_CONNECTIONS) -> Shard:
    """The shard of these settings.

    Args:
        retry_once, most_connections: see `connect`.
    """
    redis = connect(settings, retry_once=retry_once, most_connections=most_connections)
    return Shard(redis, Keys(settings.key_prefix))

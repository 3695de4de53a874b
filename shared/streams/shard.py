"""The one seam for a Redis: everything that touches one is made from a `Shard`.

There is one shard today, number 0. Each prediction id carries the number of the shard that its request went to (see
`shared.contract.ids`), so a deployment may have more without a lookup table.
"""

from __future__ import annotations

from typing import NamedTuple

from redis.asyncio import Redis

from shared.contract.keys import Keys
from shared.service.settings import Settings
from shared.streams.redis_client import Script, connect


class Shard(NamedTuple):
    """One Redis of a deployment.

    Attributes:
        redis: a client; it connects when first used.
        keys: the names of its keys.
        number: which shard it is, 0 to 4095.
    """

    redis: Redis
    keys: Keys
    number: int = 0

    def script(self, name: str) -> Script:
        """One of the scripts in `shared/streams/lua`, to be run here."""
        return Script(self.redis, name)

    async def close(self) -> None:
        """Close all connections."""
        await self.redis.aclose()


def open_shard(settings: Settings, *, retry_once: bool = False) -> Shard:
    """The shard that the settings name.

    Args:
        retry_once: see `connect`.
    """
    return Shard(connect(settings, retry_once=retry_once), Keys(settings.key_prefix))

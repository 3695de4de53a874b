"""Which database the predictions of this Redis go to: two databases behind one prefix would lose some for both."""

from __future__ import annotations

from typing import Any

from shared.contract.errors import StoreUnavailable
from shared.streams.redis_errors import redis_errors
from shared.streams.shard import Shard


class Deployment:
    """The id of the database that is noted in Redis, by the first persister that stores anything."""

    def __init__(self, shard: Shard) -> None:
        self._redis = shard.redis
        self._key = shard.keys.deployment
        self._bind = shard.script("bind")

    async def bind(self, database_id: str) -> None:
        """Note a database, unless one is noted already.

        Raises:
            StoreUnavailable: Redis cannot be reached, or another database is noted.
        """
        self._compare(database_id, await self._bind([self._key], [database_id]))

    async def check(self, database_id: str) -> None:
        """Check that no other database is noted.

        Raises:
            StoreUnavailable: Redis cannot be reached, or another database is noted.
        """
        with redis_errors():
            noted: Any = await self._redis.get(self._key)
        self._compare(database_id, noted or database_id.encode())

    def _compare(self, database_id: str, noted: bytes) -> None:
        if noted != database_id.encode():
            raise StoreUnavailable(
                "postgres",
                f"it is the database of another deployment: its id is {database_id}, but the predictions of this Redis "
                f"go to {noted.decode(errors='replace')}. Give each deployment a KEY_PREFIX of its own; after a "
                f"database was replaced, delete the key {self._key}",
                "other_deployment",
            )

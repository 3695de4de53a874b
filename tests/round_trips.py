"""How often a service turns to Redis: commands that are sent together, as in a pipeline, are one round trip."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from shared.streams.access import USERS


class RoundTrips:
    """Those of all services in this process, from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._by_user: Counter[str] = Counter()
        send = AbstractConnection.send_packed_command

        async def counted(connection: AbstractConnection, *arguments: Any, **options: Any) -> None:
            self._by_user[connection.username or ""] += 1
            await send(connection, *arguments, **options)

        monkeypatch.setattr(AbstractConnection, "send_packed_command", counted)

    def of(self, service: str) -> int:
        """How many there were."""
        return self._by_user[USERS[service]]

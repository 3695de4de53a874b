"""How often a service turns to Redis: commands that are sent together, as in a pipeline, are one round trip."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from shared.streams.access import USERS
from shared.streams.redis_client import PackingConnection


class RoundTrips:
    """Those of one service in this process, from now on.

    Attributes:
        by_task: how many, by the name of the task; only tasks of loops have names of their own.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, service: str) -> None:
        self.by_task: Counter[str] = Counter()
        send = PackingConnection.send_packed_command

        async def counted(connection: PackingConnection, *arguments: Any, **options: Any) -> None:
            task = asyncio.current_task()
            if connection.username == USERS[service]:
                self.by_task["" if task is None else task.get_name()] += 1
            await send(connection, *arguments, **options)

        monkeypatch.setattr(PackingConnection, "send_packed_command", counted)

    @property
    def count(self) -> int:
        """How many there were."""
        return self.by_task.total()

"""The dead-letter stream for operators: list, replay, delete, expire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from shared.contract.errors import MalformedMessage
from shared.contract.ids import is_id
from shared.contract.messages import (
    MODEL_MAX_CHARS,
    REQUEST_FIELDS,
    VERSION_MAX_CHARS,
    PredictionRequest,
    decode_request,
)
from shared.streams.redis_errors import redis_errors
from shared.streams.shard import Shard

GONE, TOO_OFTEN = 0, -1
OF_CALLBACKS = "webhooks"  # the source of those of callbacks


class About(NamedTuple):
    """The prediction that a dead letter is of."""

    id: str
    model: str
    version: str
    attempt: int


class DeadLetter(NamedTuple):
    """A dead letter.

    Attributes:
        entry: its id in the dead-letter stream.
        reason: a short code; `error` explains it.
        deliveries: how often it was delivered.
        dead_at: when it was dead-lettered, in ms since the epoch.
        about: the prediction that it is of; None if that cannot be read.
        request: the original request; None if it cannot be decoded or there is none, so that it is not replayed.
    """

    entry: str
    source: str
    reason: str
    error: str
    deliveries: int
    dead_at: int
    about: About | None
    request: PredictionRequest | None


class DeadLetters:
    """The dead-letter stream."""

    def __init__(self, shard: Shard) -> None:
        self._redis, self._keys = shard.redis, shard.keys
        self._replay = shard.script("replay")

    async def page(self, before: str | None, count: int) -> list[DeadLetter]:
        """Dead letters, newest first, starting before the entry id `before`.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        if before is not None and not before.strip("0-"):
            return []  # Redis rejects a range that ends before 0-0
        with redis_errors():
            entries = await self._redis.xrevrange(
                self._keys.dead, max="+" if before is None else f"({before}", count=count
            )
        return [self._letter(entry.decode(), fields) for entry, fields in entries or []]  # type: ignore

    async def find(self, entry: str) -> DeadLetter | None:
        """One dead letter.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            entries = await self._redis.xrange(self._keys.dead, entry, entry)
        return next((self._letter(entry, fields) for _, fields in entries or []), None)  # type: ignore[arg-type]

    async def replay(self, letter: DeadLetter, timeout_ms: int, most: int) -> int:
        """Put a dead letter's request back into its stream, as the next attempt.

        Args:
            most: how often a request may be replayed.

        Returns:
            The number of that attempt; `GONE` if the dead letter was replayed or deleted meanwhile; `TOO_OFTEN` if its
            request was replayed `most` times already: it is kept.

        Raises:
            ValueError: its request cannot be decoded.
            StoreUnavailable: Redis cannot be reached.
        """
        request = letter.request
        if request is None:
            raise ValueError(f"dead letter {letter.entry} has no readable request")
        keys = [
            self._keys.dead,
            self._keys.requests(request.model, request.version, request.priority),
            self._keys.prediction(request.id),
            self._keys.backlog_bytes,
            self._keys.deadlines,
            self._keys.limits(""),
        ]
        return int(await self._replay(keys, [letter.entry, request.attempt, timeout_ms, most, *REQUEST_FIELDS]))

    async def delete(self, entry: str) -> bool:
        """Delete a dead letter; returns whether it existed.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            return bool(await self._redis.xdel(self._keys.dead, entry))

    async def age_out(self, keep_ms: int) -> int:
        """Delete dead letters older than `keep_ms`; returns how many.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        with redis_errors():
            seconds, microseconds = await self._redis.time()
            oldest = seconds * 1000 + microseconds // 1000 - keep_ms
            return int(await self._redis.xtrim(self._keys.dead, minid=f"{max(0, oldest)}-0", approximate=False))

    def _letter(self, entry: str, fields: Mapping[bytes, bytes]) -> DeadLetter:
        def text(name: bytes) -> str:
            return fields.get(name, b"").decode(errors="replace")

        def number(name: bytes) -> int:
            return int(text(name)) if text(name).isdigit() else 0

        try:
            request = decode_request(fields)
        except MalformedMessage:
            request = None
        source = text(b"source").removeprefix(self._keys.prefix)
        dead_at = number(b"dead_at") or int(entry.split("-")[0])
        about = About(text(b"id"), text(b"model"), text(b"version"), number(b"attempt"))
        readable = is_id(about.id) and len(about.model) <= MODEL_MAX_CHARS and len(about.version) <= VERSION_MAX_CHARS
        return DeadLetter(
            *(entry, source, text(b"reason"), text(b"error"), number(b"deliveries"), dead_at),
            about if readable else None,
            request,
        )

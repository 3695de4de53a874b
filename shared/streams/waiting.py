"""Listing what waits or runs: what a shard's request streams hold, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from shared.contract.ids import is_id
from shared.contract.queues import Queue
from shared.contract.tags import Tag, read_tags
from shared.streams.redis_errors import redis_errors
from shared.streams.shard import Shard

_MOST_LOOKED, _MOST_BYTES = 200, 1_000_000  # of one stream for one page


class EntryId(NamedTuple):
    """The id of a stream's entry: ms since the epoch on Redis's clock, and a number among those of that ms."""

    ms: int
    number: int

    def __str__(self) -> str:
        return f"{self.ms}-{self.number}"

    @classmethod
    def of(cls, text: str) -> EntryId:
        """The id with this text."""
        ms, _, number = text.partition("-")
        return cls(int(ms), int(number))


FIRST, LAST = EntryId(0, 0), EntryId(2**63, 0)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A prediction that waits or runs; `tags` is the text of a JSON object, or empty."""

    entry: EntryId
    id: str
    queue: Queue
    principal: str
    tags: bytes
    waited_ms: int


class Wanted(NamedTuple):
    """Which of them.

    Attributes:
        running: those that a worker has read; otherwise those that none has.
        below: entries before this one.
        since: the first of them.
        principal: of whom; '' for anybody.
    """

    running: bool
    below: EntryId = LAST
    since: EntryId = FIRST
    principal: str = ""
    tag: Tag | None = None


class Page(NamedTuple):
    """Some of them, and from where to go on: below this entry; None if these are all."""

    items: Sequence[Waiting]
    below: EntryId | None


class WaitingList:
    """Lists predictions of one shard."""

    def __init__(self, shard: Shard) -> None:
        self._redis, self._keys = shard.redis, shard.keys
        self._script = shard.script("waiting")

    async def page(self, queues: Sequence[Queue], wanted: Wanted, limit: int) -> Page:
        """A page, newest first; it may be shorter than wanted, even empty, if there are more.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        if not queues:
            return Page([], None)
        below = "+" if wanted.below == LAST else str(wanted.below)
        tag = wanted.tag or Tag("", "")
        status = "running" if wanted.running else "queued"
        bounds: list[str | int] = [limit, _MOST_LOOKED, _MOST_BYTES, status, wanted.principal, *tag]
        async with self._redis.pipeline(transaction=False) as pipe:
            for queue in queues:
                args: list[str | int] = [self._keys.WORKER_GROUP, below, str(wanted.since), *bounds]
                await self._script([self._keys.requests(*queue)], args, client=pipe)
            with redis_errors():
                answers = await pipe.execute()
        return merged([_page(*each) for each in zip(queues, answers, strict=True)], limit)


def merged(pages: Sequence[Page], limit: int) -> Page:
    """The newest of several streams' pages. What is older than where the look at one stream ended has to wait."""
    end = max((page.below for page in pages if page.below is not None), default=None)
    items = sorted((each for page in pages for each in page.items), key=lambda each: each.entry, reverse=True)
    items = [each for each in items if end is None or each.entry >= end]
    if len(items) > limit:  # those of one id are never told apart: a page goes on below an id
        end = items[limit - 1].entry
        items = [each for each in items if each.entry >= end]
    return Page(items, end)


def _page(queue: Queue, answer: Sequence[Any]) -> Page:
    end, *flat = [each.decode(errors="replace") for each in answer]
    items = []
    for at in range(0, len(flat), 5):
        entry, prediction_id, principal, tags, waited_ms = flat[at : at + 5]
        if is_id(prediction_id):
            known = tags.encode() if read_tags(tags.encode()) else b""
            items.append(Waiting(EntryId.of(entry), prediction_id, queue, principal, known, int(waited_ms)))
    return Page(items, EntryId.of(end) if end else None)

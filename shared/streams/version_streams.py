"""Both request streams of one model version, as a worker uses them: of `interactive` requests and of `batch`.

What is read of the two comes together, each with a count of its own. An entry of the second is called `{id}/batch`,
since two streams may give the same id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from shared.contract.progress import Progress, encode_progress
from shared.contract.queues import Priority
from shared.streams.redis_client import run_pipeline
from shared.streams.redis_errors import is_missing_group
from shared.streams.request_stream import Completed, Delivery, Read, RequestStream
from shared.streams.shard import Shard

_OF_BATCH = "/batch"
_MORE_THAN_IN_HAND = 1000  # entries that a consumer may have pending beside those it holds: read at this moment


class Counts(NamedTuple):
    """How many entries of each stream."""

    interactive: int
    batch: int


class VersionStreams:
    """The streams of a model version, their groups and this consumer. What its methods raise: see `RequestStream`."""

    def __init__(self, shard: Shard, model: str, version: str, consumer: str) -> None:
        self._redis, self._group, self._consumer = shard.redis, shard.keys.WORKER_GROUP, consumer
        self._keys = shard.keys
        self._progress = shard.script("progress")
        self._interactive, self._batch = (RequestStream(shard, model, version, consumer, each) for each in Priority)

    async def join(self) -> None:
        """Create the streams, their groups and this consumer; in the end that which marks who serves the version."""
        await self._batch.join()
        await self._interactive.join()

    async def read(self, counts: Counts, block_ms: int) -> Read:
        """Entries that nobody has read yet, up to a count of each stream; waits at most `block_ms` for the first.

        Only streams with a count are waited for. Never cancel this call: see `RequestStream.read`.
        """
        asked = [(stream, count) for stream, count in self._asked(counts) if count > 0]
        least = min(count for _, count in asked)
        if block_ms <= 0 or any(count > least for _, count in asked):
            read = await self._read_now(asked)
            if read.deliveries or block_ms <= 0:
                return read
        async with self._redis.pipeline(transaction=False) as pipe:
            ids: dict[Any, Any] = {stream.key: ">" for stream, _ in asked}
            pipe.xreadgroup(self._group, self._consumer, ids, count=least, block=block_ms)
            pipe.time()
            return await self._answer(await run_pipeline(pipe, expected=is_missing_group))

    async def _read_now(self, asked: Sequence[tuple[RequestStream, int]]) -> Read:
        """What is there, of both streams in one round trip: a read that waits has one count for both."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for stream, count in asked:
                pipe.xreadgroup(self._group, self._consumer, {stream.key: ">"}, count=count)
            pipe.time()
            return await self._answer(await run_pipeline(pipe, expected=is_missing_group))

    def _asked(self, counts: Counts) -> list[tuple[RequestStream, int]]:
        return [(self._interactive, counts.interactive), (self._batch, counts.batch)]

    async def _answer(self, answers: Sequence[Any]) -> Read:
        *found, (seconds, microseconds) = answers
        if None in found:
            await self.join()
        read = []
        for key, entries in (pair for answer in found if answer for pair in answer):
            stream = self._batch if key.decode() == self._batch.key else self._interactive
            read += [self._named(stream, Delivery(entry.decode(), fields)) for entry, fields in entries]
        return Read(read, seconds * 1000 + microseconds // 1000)

    async def claim(self, visibility_timeout_ms: int, count: int) -> Read:
        """Claim abandoned entries of one stream: interactive ones, otherwise those of `batch`."""
        read = await self._interactive.claim(visibility_timeout_ms, count)
        if read.deliveries:
            return read
        read = await self._batch.claim(visibility_timeout_ms, count)
        return Read([self._named(self._batch, each) for each in read.deliveries], read.now_ms)

    async def has_abandoned(self, visibility_timeout_ms: int) -> bool:
        """Whether `claim` would find anything: asked first, since claiming needs all else to be out of hand."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for each in self._both:
                pipe.xpending_range(each.key, self._group, "-", "+", 1, idle=visibility_timeout_ms)
            return any(await run_pipeline(pipe, expected=is_missing_group))

    async def renew(self, entries: Sequence[str]) -> int:
        """Renew the claims on entries that are still being computed; returns how many this worker still owned."""
        return sum(await self._for_each(entries, lambda stream, own: stream.renew(own)))

    async def lost(self, entries: Sequence[str]) -> set[str]:
        """Those of the entries, which this consumer has read, that are not its own any more, in one round trip.

        They were finished, cancelled or erased, or another has claimed them.
        """
        held = [(stream, [each for each in entries if self._of(each) is stream]) for stream in self._both]
        held = [(stream, own) for stream, own in held if own]
        async with self._redis.pipeline(transaction=False) as pipe:
            for stream, own in held:
                most = len(own) + _MORE_THAN_IN_HAND
                pipe.xpending_range(stream.key, self._group, "-", "+", most, self._consumer)
            answers = await run_pipeline(pipe, expected=is_missing_group)
        return set().union(*(_lost(own, pending) for (_, own), pending in zip(held, answers, strict=True)))

    async def release(self, entries: Sequence[str], visibility_timeout_ms: int) -> int:
        """Release entries that were read but not started."""
        return sum(await self._for_each(entries, lambda stream, own: stream.release(own, visibility_timeout_ms)))

    async def count_delivery(self, entry: str) -> int:
        """Count another delivery of an entry to this worker; returns the deliveries so far, 0 if it is not ours."""
        return await self._of(entry).count_delivery(entry.removesuffix(_OF_BATCH))

    async def complete(self, finished: Sequence[Completed]) -> list[bool]:
        """Record the outcomes of a batch, in one script call for each stream; returns for each whether it stands."""
        done: dict[str, bool] = {}
        for stream in self._both:
            own = [each for each in finished if self._of(each.delivery.entry) is stream]
            if own:
                recorded = await stream.complete([each._replace(delivery=_bare(each.delivery)) for each in own])
                done |= {each.delivery.entry: first for each, first in zip(own, recorded, strict=True)}
        return [done[each.delivery.entry] for each in finished]

    async def dead_letter(self, delivery: Delivery, reason: str, error: str) -> bool:
        """Dead-letter an entry."""
        return await self._of(delivery.entry).dead_letter(_bare(delivery), reason, error)

    async def tell(self, progress: Mapping[str, Progress]) -> bool:
        """Tell who listens how far predictions are, by their ids; returns whether anybody does."""
        keys = [self._keys.prediction(each) for each in progress]
        args: list[str | bytes] = [self._keys.notify("")]
        for prediction_id, told in progress.items():
            args += (prediction_id, encode_progress(told))
        return bool(await self._progress(keys, args))

    async def leave(self) -> bool:
        """Remove this consumer of each stream if nothing is pending for it; returns whether it left both."""
        left = [await each.leave() for each in self._both]
        return all(left)

    @property
    def _both(self) -> tuple[RequestStream, RequestStream]:
        return self._interactive, self._batch

    def _of(self, entry: str) -> RequestStream:
        return self._batch if entry.endswith(_OF_BATCH) else self._interactive

    def _named(self, stream: RequestStream, delivery: Delivery) -> Delivery:
        return delivery if stream is self._interactive else delivery._replace(entry=f"{delivery.entry}{_OF_BATCH}")

    async def _for_each(
        self, entries: Sequence[str], call: Callable[[RequestStream, list[str]], Awaitable[int]]
    ) -> list[int]:
        """Call with each stream and its entries, if it has any."""
        answers = []
        for stream in self._both:
            own = [each.removesuffix(_OF_BATCH) for each in entries if self._of(each) is stream]
            if own:
                answers.append(await call(stream, own))
        return answers


def _bare(delivery: Delivery) -> Delivery:
    """As its own stream calls it."""
    return delivery._replace(entry=delivery.entry.removesuffix(_OF_BATCH))


def _lost(entries: Sequence[str], pending: Sequence[Mapping[str, Any]] | None) -> set[str]:
    """Those of the entries of one stream that are not pending; none if not all that is pending is known.

    Args:
        pending: what is of this consumer, or None: the group is missing, so that what is in hand is published again, or
            it is not known.
    """
    if pending is None or len(pending) >= len(entries) + _MORE_THAN_IN_HAND:
        return set()
    own = {each["message_id"].decode() for each in pending}
    return {each for each in entries if each.removesuffix(_OF_BATCH) not in own}

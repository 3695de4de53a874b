"""The states of predictions that are not in Postgres yet, and hints that one has finished: the gateway's side."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from shared.contract.errors import MalformedMessage
from shared.contract.fields import callback_of
from shared.contract.hints import Hint, decode_hints
from shared.contract.messages import PredictionResult, decode_result
from shared.contract.queues import Queue
from shared.streams.shard import Shard
from shared.streams.subscription import messages
from shared.telemetry.metrics import ERRORS


class QueuePlace(NamedTuple):
    """Where a prediction is in its queue.

    Attributes:
        queue: whose stream it is in.
        entry: the id of its entry there.
        running: whether a worker has read it.
        depth: entries of the stream, waiting and running.
        waited_ms: since it was added to it.
    """

    queue: Queue
    entry: str
    running: bool
    depth: int
    waited_ms: int


@dataclass(frozen=True, slots=True)
class Queued:
    """A prediction that is waiting or running.

    Attributes:
        label: its `model:version`; empty if that cannot be read.
        principal: the id of who asked for it; may be empty.
        place: where it is; None if that was not asked for, or cannot be read.
        callback_url: where its end is told; may be empty.
    """

    attempt: int
    label: str = ""
    principal: str = ""
    place: QueuePlace | None = field(default=None, compare=False)
    callback_url: str = field(default="", compare=False)

    @property
    def model(self) -> str:
        """The name of its model."""
        return self.label.partition(":")[0]


State = Queued | PredictionResult | None

_AT_ONCE = 100  # by one call of a script, which takes 1.5 ms at most: Redis serves others between calls
ANY_BYTES = 1 << 40


class PredictionStates:
    """Reads states and receives hints for one gateway process."""

    def __init__(self, shard: Shard, gateway_id: str) -> None:
        self._redis, self._keys = shard.redis, shard.keys
        self._gateway_id = gateway_id
        self._lookup = shard.script("lookup")
        self._listen = shard.script("listen")

    async def look(self, prediction_id: str, *, wait: bool = False) -> State:
        """The state, with the place in the queue; None if there is none (the id is unknown, or already in Postgres).

        Args:
            wait: also ask for a hint when it finishes, in the same step, so that its end cannot be missed.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        gateway_id = self._gateway_id if wait else ""
        (answer,) = await self._lookup(*self._asked([prediction_id], [prediction_id], gateway_id, 1))
        return _state(answer)

    async def look_all(
        self, prediction_ids: Sequence[str], placed: Collection[str] = (), most_bytes: int = ANY_BYTES
    ) -> dict[str, State]:
        """The states of several predictions by their ids, in one round trip; asks again for hints.

        Args:
            placed: those whose places in their queues are looked at, too.
            most_bytes: of results, about: those of which no more are read are left out, and have finished.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        groups = [prediction_ids[start : start + _AT_ONCE] for start in range(0, len(prediction_ids), _AT_ONCE)]
        places = frozenset(placed)
        asked = [self._asked(each, places, self._gateway_id, most_bytes // len(groups)) for each in groups]
        answers = await self._lookup.each(asked)
        told = zip(prediction_ids, (each for answer in answers for each in answer), strict=True)
        return {each: _state(answer) for each, answer in told if answer != [b"finished"]}

    def _asked(
        self, prediction_ids: Sequence[str], placed: Collection[str], gateway_id: str, most_bytes: int
    ) -> tuple[list[str], list[str | bytes | int | float]]:
        """The keys and arguments of a look."""
        keys = [self._keys.results, *(self._keys.prediction(each) for each in prediction_ids)]
        return keys, [
            gateway_id,
            self._keys.WORKER_GROUP,
            most_bytes,
            *(int(each in placed) for each in prediction_ids),
        ]

    async def listen(self, prediction_id: str) -> None:
        """Ask for hints of how far a prediction is, until it has finished.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        await self._listen([self._keys.prediction(prediction_id)], [self._gateway_id])

    async def hints(self) -> AsyncIterator[list[Hint] | None]:
        """Hints as they arrive; None once subscribed and whenever none comes for a while: see `messages`.

        Raises:
            StoreUnavailable: the connection is lost; hints sent meanwhile are lost, so re-read the states.
        """
        async with aclosing(messages(self._redis, self._keys.notify(self._gateway_id))) as heard:
            async for message in heard:
                yield None if message is None else decode_hints(message)


def _state(answer: Any) -> State:
    if answer is None:
        return None
    if answer[0] == b"finished":
        fields = dict(zip(answer[1][::2], answer[1][1::2], strict=True))
        try:
            return decode_result(fields)
        except MalformedMessage as error:  # not final: the persister will store it as failed
            ERRORS.labels("gateway", error.reason).inc()
            return Queued(0, principal=fields.get(b"principal", b"").decode(errors="replace"))
    label = ":".join(answer[2].decode().split(":")[-2:])
    queue = Queue.of(label)
    place = QueuePlace(queue, answer[5].decode(), answer[6] > 0, *answer[7:9]) if label and len(answer) > 5 else None
    callback_url = callback_of({b"callback_url": answer[4]})
    known = queue.version_label if label else "", answer[3].decode(), place, callback_url
    return Queued(int(answer[1]), *known)

"""Watching one prediction: what happens to it, until it has finished.

A watch keeps only the latest of everything, so who reads slowly is told less often, not later, and costs no more. What
is written so far comes whole with each hint, so a hint that is lost costs nothing, and who was cut off goes on with any
gateway from the character that it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from gateway.core.expectation import Expectation
from gateway.core.finished import Finished
from gateway.core.waiting import Waiters
from shared.contract.progress import Progress
from shared.streams.prediction_state import Queued


class Kind(StrEnum):
    """What an event tells."""

    STATE = "state"
    PROGRESS = "progress"
    TOKEN = "token"  # nosec B105 - of a text
    RESULT = "result"
    BEAT = "beat"  # nothing has happened for a while


class Event(NamedTuple):
    """Something that happened.

    Attributes:
        value: a `Queued`, the share of the work that is done, a piece of text, a `Finished`, or None.
        written: how many characters of the text have been told with it.
    """

    kind: Kind
    value: Any
    written: int


class Watch(Expectation):
    """One caller's watch of one prediction: a context manager, entered before its state is read.

    Args:
        written: how many characters of its text the caller has already.
    """

    __slots__ = ("_ended", "_finished", "_news", "_progress", "_share", "_state", "_waiter", "_written")
    watches = True

    def __init__(self, waiters: Waiters, prediction_id: str, caller: str, written: int = 0) -> None:
        super().__init__(waiters, [prediction_id], "", caller)
        self.accepted = True
        self._written = written
        self._news = False
        self._waiter: asyncio.Future[None] | None = None
        self._state: Queued | None = None
        self._share: float | None = None
        self._progress = Progress()
        self._finished: Finished | None = None
        self._ended = False

    def wake(self, prediction_id: str, finished: Finished | None) -> None:
        """It has finished; or with None, it is gone, or nobody can say what becomes of it."""
        self._finished, self._ended = finished, True
        self._tell()

    def seen(self, state: Queued) -> None:
        """It has not finished."""
        self._state = state
        self._tell()

    def told(self, progress: Progress) -> None:
        """It is so far, so it runs."""
        self._progress = progress
        if self._state is not None and self._state.place is not None:
            self._state = replace(self._state, place=self._state.place._replace(running=True))
        self._tell()

    def closing(self) -> None:
        """The gateway is stopping: another one goes on."""
        self._ended = True
        self._tell()

    async def events(self, beat_s: float) -> AsyncIterator[Event]:
        """What happens, from now to the end; a beat if nothing does for `beat_s` seconds."""
        shown: object = None
        while True:
            self._news = False
            if self._state is not None and _changing(self._state) != shown and self._finished is None:
                shown = _changing(self._state)
                yield Event(Kind.STATE, self._state, self._written)
            finished = self._finished
            for event in self._advance(finished):
                yield event
            if finished is not None or (self._ended and not self._news):
                return
            if not await self._is_told(beat_s):
                yield Event(Kind.BEAT, None, self._written)
                shown = None

    def _tell(self) -> None:
        self._news = True
        if self._waiter is not None:
            _settle(self._waiter)

    async def _is_told(self, patience_s: float) -> bool:
        """Wait for news; False if there are none for so long. By hand: an event and a time-out are a kilobyte more."""
        if not self._news:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(patience_s, _settle, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
        return self._news

    def _advance(self, finished: Finished | None) -> Iterator[Event]:
        progress = self._progress
        if finished is not None:
            yield from self._token(_rest_of(finished, progress, self._written), self._written)
            yield Event(Kind.RESULT, finished, self._written)
            return
        if progress.share is not None and progress.share != self._share:
            self._share = progress.share
            yield Event(Kind.PROGRESS, progress.share, self._written)
        yield from self._token(progress.text or "", progress.start)

    def _token(self, text: str, start: int) -> Iterator[Event]:
        """What is new of a text that begins at the character `start`."""
        if start + len(text) > self._written:
            new = text[max(0, self._written - start) :]
            self._written = start + len(text)
            yield Event(Kind.TOKEN, new, self._written)


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _changing(state: Queued) -> object:
    """What of a state is worth telling when it changes: that it runs, or until then how long its queue is."""
    place = state.place
    return () if place is None else (place.running, None if place.running else place.depth)


def _rest_of(finished: Finished, progress: Progress, written: int) -> str:
    """What the result has of the text beyond what was told; nothing if nothing was, or it is another text after all."""
    if not written or finished.outcome.result is None:
        return ""
    text = orjson.loads(finished.outcome.result).get("text")
    if not isinstance(text, str) or not text.startswith(progress.text or "", progress.start):
        return ""
    return text[written:]

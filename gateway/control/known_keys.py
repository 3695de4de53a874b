"""API keys that are known: found in Postgres once, then kept, so that a request with one asks nobody.

Every 20 s all known keys are looked up again, and it is noted which were used; a key that is taken back is forgotten as
soon as a message on the channel `principals` says so, else at the next look. While Postgres does not answer, a known
key is good for an hour. Of ids that are not known, all that are asked for at the same time are one query, and those
that do not exist are remembered for a minute: who guesses costs a query at a time, whatever the number of guesses.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from gateway.control.api_keys import hmac_of, read
from gateway.control.key_store import StoredKey
from gateway.core.errors import Refused, Unauthenticated
from gateway.core.principal import Principal
from shared.contract.errors import StoreUnavailable
from shared.service.backoff import Backoff
from shared.service.lifecycle import cancel_until_ended
from shared.service.liveness import Liveness
from shared.streams.revocations import Revocations

log = logging.getLogger(__name__)

LOOK_LOOP, HEAR_LOOP = "api keys", "revocations"
LOOK_EVERY_S = 20.0
GOOD_FOR_S = 3600.0  # without Postgres
UNKNOWN_FOR_S = 60.0
MOST_KNOWN = MOST_UNKNOWN = 10_000
MOST_ASKED = 1000  # that wait for the next query
AGAIN_AFTER_S = 1.0  # Postgres did not answer
_AT_ONCE = 500


class Store(Protocol):
    """Where keys are kept: see `KeyStore`."""

    async def find(self, ids: Sequence[str]) -> dict[str, StoredKey]: ...

    async def note_used(self, at: Mapping[str, datetime]) -> None: ...


class _Known(NamedTuple):
    key: StoredKey
    looked_at: float


class KnownKeys:
    """The API keys that one gateway knows."""

    def __init__(
        self, store: Store, revocations: Revocations, pepper: bytes, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._revocations, self._pepper, self._clock = store, revocations, pepper, clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()  # until when
        self._used: dict[str, datetime] = {}
        self._asked: dict[str, asyncio.Future[StoredKey | Refused | None]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._forgotten = 0  # how often keys were forgotten: what was found before that is not kept
        self._away_until = clock()

    async def principal(self, text: str) -> Principal:
        """Whose key this is.

        Raises:
            Unauthenticated: it is none, or not good (any more).
            Refused: that cannot be found out now.
        """
        given = read(text)
        known = self._known.get(given.id)
        key = known.key if known and self._clock() - known.looked_at < GOOD_FOR_S else await self._look_up(given.id)
        if key is None or not hmac.compare_digest(key.secret_hmac, hmac_of(given, self._pepper)):
            raise Unauthenticated("there is no such API key", reason="unknown_api_key")
        if key.revoked_at is not None:
            raise Unauthenticated("the API key was taken back", reason="revoked")
        now = datetime.now(UTC)
        if key.expires_at is not None and key.expires_at <= now:
            raise Unauthenticated("the API key has expired", reason="expired")
        self._used[key.id] = now
        return key.principal

    def forget(self, key_id: str) -> None:
        """Look a key up again when it is used next."""
        self._known.pop(key_id, None)
        self._unknown.pop(key_id, None)
        self._forgotten += 1

    async def refresh(self) -> None:
        """Note which keys were used, and look all known ones up again.

        Raises:
            StoreUnavailable: Postgres cannot be reached.
        """
        used, self._used = self._used, {}
        if used:
            await self._store.note_used(used)
        ids = list(self._known)
        for start in range(0, len(ids), _AT_ONCE):
            await self._find(ids[start : start + _AT_ONCE])

    async def hear(self, stop: asyncio.Event, liveness: Liveness) -> None:
        """Forget each key that a message says was taken back, until `stop` is set."""
        backoff = Backoff()
        while not stop.is_set():
            try:
                async for key_id in self._revocations.hear():
                    liveness.moved(HEAR_LOOP)
                    backoff.succeeded()
                    if stop.is_set():
                        return
                    if key_id is not None:
                        self.forget(key_id)
            except StoreUnavailable as error:
                log.warning("revocations are not heard", extra={"reason": error.reason, "detail": str(error)})
                with liveness.moving(HEAR_LOOP):
                    await backoff.pause(stop)

    async def close(self) -> None:
        """End a query that is under way."""
        if self._asking is not None:
            await cancel_until_ended([self._asking])

    async def _look_up(self, key_id: str) -> StoredKey | None:
        now = self._clock()
        if self._unknown.get(key_id, now) > now:
            return None
        if now < self._away_until or len(self._asked) >= MOST_ASKED:
            raise _unavailable()
        future = self._asked.get(key_id)
        if future is None:
            future = self._asked[key_id] = asyncio.get_running_loop().create_future()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="look-up of API keys")
        found = await asyncio.shield(future)  # others may wait for the same
        if isinstance(found, Refused):
            raise found
        return found

    async def _ask(self) -> None:
        """One query after another, as long as there are ids that somebody waits for."""
        while self._asked:
            asked = {each: self._asked[each] for each in list(self._asked)[:_AT_ONCE]}
            found: Mapping[str, StoredKey] | Refused
            try:
                found = await self._find(list(asked))
            except Exception as error:  # whatever it is, who waits is told
                if not isinstance(error, StoreUnavailable):
                    log.exception("API keys not looked up")
                self._away_until = self._clock() + AGAIN_AFTER_S
                found = _unavailable()
            for key_id, future in asked.items():
                del self._asked[key_id]
                future.set_result(found if isinstance(found, Refused) else found.get(key_id))

    async def _find(self, ids: Sequence[str]) -> Mapping[str, StoredKey]:
        """Look keys up, and keep what was found, unless one was forgotten meanwhile: it may have been found before."""
        forgotten = self._forgotten
        found = await self._store.find(ids)
        if forgotten == self._forgotten:
            now = self._clock()
            for key_id in ids:
                self._keep(key_id, found.get(key_id), now)
        return found

    def _keep(self, key_id: str, key: StoredKey | None, now: float) -> None:
        if key is None:
            self._known.pop(key_id, None)
            self._unknown[key_id] = now + UNKNOWN_FOR_S
        else:
            self._known[key_id] = _Known(key, now)
        for kept, most in ((self._known, MOST_KNOWN), (self._unknown, MOST_UNKNOWN)):
            if len(kept) > most:
                kept.popitem(last=False)


def _unavailable() -> Refused:
    detail = "API keys cannot be looked up now, and this one is not known yet; try again"
    return Refused("keys-unavailable", detail, 2)

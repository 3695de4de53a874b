"""The keys of an issuer from its JWK set (RFC 7517), fetched in the background and kept while it does not answer.

The set is fetched when the gateway starts and every five minutes, and besides when a token names a key that it does not
have, since issuers change their keys without notice; that at most every 30 s, or anybody could have it fetched at will.
While the issuer does not answer, the keys last fetched hold for a day. Without any, nobody can say whether a token is
good: 503, not 401.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import aiohttp

from gateway.control.signing_keys import SigningKey, fitting, read_key_set
from gateway.core.errors import Refused
from shared.service.lifecycle import cancel_until_ended
from shared.service.liveness import Liveness
from shared.telemetry.metrics import ERRORS, SIGNING_KEYS_FETCHED

log = logging.getLogger(__name__)

LOOP = "signing keys"
REFRESH_EVERY_S = 300.0
AGAIN_AFTER_S = 30.0  # after a failure, and for a key that is not known
FIRST_AGAIN_AFTER_S = 5.0  # while there are none
STALE_AFTER_S = 86_400.0
WITHIN_S = 5.0
MOST_BYTES = 256_000


class FetchError(Exception):
    """The set was not fetched; the message says why."""


class KeySet:
    """The keys at one URL.

    Attributes:
        generation: changes when the keys do.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._url, self._clock = url, clock
        self._keys: Mapping[str, SigningKey] = {}
        self._fetched_at = clock() - STALE_AFTER_S
        self._tried_at = clock() - AGAIN_AFTER_S
        self._failing = True
        self._fetching: asyncio.Task[None] | None = None
        self.generation = 0

    async def find(self, kid: str | None, algorithm: str) -> Sequence[SigningKey]:
        """The keys that may have signed a token.

        Raises:
            Refused: no keys are known, or not whether there is a new one.
        """
        found = fitting(self._keys, kid, algorithm)
        if not found and self._clock() - self._tried_at >= AGAIN_AFTER_S:
            await self.refresh()
            found = fitting(self._keys, kid, algorithm)
        is_stale = self._clock() - self._fetched_at >= STALE_AFTER_S
        if is_stale or (self._failing and not found):
            detail = "the keys that tokens are signed with cannot be fetched from JWKS_URL now; try again"
            raise Refused("keys-unavailable", detail, round(FIRST_AGAIN_AFTER_S))
        return found

    async def run(self, stop: asyncio.Event, liveness: Liveness) -> None:
        """Fetch the set again and again until `stop` is set."""
        while not await liveness.wait(LOOP, stop, self._pause_s()):
            with liveness.moving(LOOP):
                await self.refresh()

    async def refresh(self) -> None:
        """Fetch the set; the keys stay as they are if that fails. Who asks meanwhile waits for the same fetch."""
        if self._fetching is None or self._fetching.done():
            self._tried_at = self._clock()
            self._fetching = asyncio.create_task(self._fetch(), name="fetch of signing keys")
        await asyncio.shield(self._fetching)  # a client that goes away takes nothing from the others

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetching is not None:
            await cancel_until_ended([self._fetching])

    def _pause_s(self) -> float:
        if not self._failing:
            return REFRESH_EVERY_S
        return AGAIN_AFTER_S if self._keys else FIRST_AGAIN_AFTER_S

    async def _fetch(self) -> None:
        try:
            keys = read_key_set(await fetch(self._url))
        except (FetchError, ValueError) as error:
            self._failing = True
            ERRORS.labels("gateway", "signing_keys").inc()
            log.warning("signing keys not fetched", extra={"url": self._url, "detail": str(error)[:300]})
            return
        if keys != self._keys:
            log.info("signing keys changed", extra={"keys": len(keys)})
            self._keys, self.generation = keys, self.generation + 1
        self._failing, self._fetched_at = False, self._clock()
        SIGNING_KEYS_FETCHED.set_to_current_time()


async def fetch(url: str) -> bytes:
    """What is at a URL: at most 256 kB, within 5 s, without following to another.

    Raises:
        FetchError: it was not fetched.
    """
    timeout = aiohttp.ClientTimeout(total=WITHIN_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session:
            async with session.get(url, allow_redirects=False, headers={"Accept": "application/json"}) as answer:
                if answer.status != 200:
                    raise FetchError(f"it was answered with {answer.status}")
                return await _bounded(answer.content)
    except TimeoutError:
        raise FetchError(f"it took longer than {WITHIN_S:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise FetchError(f"{type(error).__name__}: {error}") from error


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    body = b""
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            raise FetchError(f"it has more than {MOST_BYTES} bytes")
    return body

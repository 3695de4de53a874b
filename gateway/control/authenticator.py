"""Finding out who asks."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Protocol

from gateway.control.api_keys import PREFIX
from gateway.control.bearer import token_of
from gateway.control.known_keys import KnownKeys
from gateway.control.tokens import Tokens
from gateway.core.errors import Unauthenticated
from gateway.core.principal import ANYBODY, Principal
from shared.telemetry.metrics import AUTHENTICATION_FAILURES

log = logging.getLogger(__name__)

_TELL_EVERY_S = 1.0


class Authenticator(Protocol):
    """Finds out who asks."""

    @property
    def required(self) -> bool:
        """Whether it must be known who asks."""
        ...

    async def authenticate(self, authorization: str | None) -> Principal:
        """The principal of a request.

        Args:
            authorization: its Authorization header.

        Raises:
            Unauthenticated: there is none, or what it holds is not valid (any more).
            Refused: that cannot be found out now.
        """
        ...


class Off:
    """Authentication is off: everybody may do everything."""

    required = False

    async def authenticate(self, authorization: str | None) -> Principal:
        """The same for everybody."""
        return ANYBODY


class Required:
    """Who asks shows a token or an API key, of those that are accepted."""

    required = True

    def __init__(self, tokens: Tokens | None, api_keys: KnownKeys | None) -> None:
        self._tokens, self._api_keys = tokens, api_keys
        self._untold: Counter[str] = Counter()
        self._told_at: dict[str, float] = {}

    async def authenticate(self, authorization: str | None) -> Principal:
        """See `Authenticator`; what fails is counted, and logged without what was sent."""
        try:
            return await self._principal(token_of(authorization))
        except Unauthenticated as error:
            AUTHENTICATION_FAILURES.labels(error.reason).inc()
            self._tell(error)
            raise

    async def _principal(self, token: str) -> Principal:
        if token.startswith(PREFIX):
            if self._api_keys is None:
                raise Unauthenticated("API keys are not accepted here, but tokens", reason="malformed")
            return await self._api_keys.principal(token)
        if self._tokens is None:
            raise Unauthenticated("tokens are not accepted here, but API keys (msk_…)", reason="malformed")
        return await self._tokens.principal(token)

    def _tell(self, error: Unauthenticated) -> None:
        """Log a failure, each reason once a second: who guesses fills no disk."""
        self._untold[error.reason] += 1
        now = time.monotonic()
        if now - self._told_at.get(error.reason, -_TELL_EVERY_S) >= _TELL_EVERY_S:
            self._told_at[error.reason] = now
            number = self._untold.pop(error.reason)
            log.warning("not authenticated", extra={"reason": error.reason, "detail": str(error), "count": number})

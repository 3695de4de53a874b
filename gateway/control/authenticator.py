"""Finding out who asks."""

from __future__ import annotations

from typing import Protocol

from gateway.core.principal import ANYBODY, Principal


class Authenticator(Protocol):
    """Finds out who asks."""

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

    async def authenticate(self, authorization: str | None) -> Principal:
        """The same for everybody."""
        return ANYBODY

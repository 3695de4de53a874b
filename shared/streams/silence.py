"""Whether a connection on which nothing comes is quiet or dead. Pure.

A network that drops every packet ends no read with an error for minutes, nor does a middlebox that keeps the connection
and swallows what comes. So the silence is measured here, and broken by asking the other side for a sign of life.
"""

from __future__ import annotations

from shared.contract.errors import StoreUnavailable

ASK_AFTER_S = 1.0
LONGEST_S = 4.0


class Silence:
    """The silence of one connection to Redis.

    Args:
        look_s: how long one look for a message lasts if there is none.
    """

    def __init__(self, look_s: float) -> None:
        self._look_s = look_s
        self._lasts_s = 0.0
        self._asked = False

    def broken(self) -> None:
        """Something came."""
        self._lasts_s, self._asked = 0.0, False

    def goes_on(self, seconds: float) -> bool:
        """A look of so many seconds found nothing; returns whether to ask for a sign of life now.

        Raises:
            StoreUnavailable: it has lasted too long; or the look ended at once, as redis-py's do when the kernel has
                ended the connection with ETIMEDOUT, which it takes for "nothing yet".
        """
        if seconds < self._look_s / 2:
            raise StoreUnavailable("redis", "the connection is broken", "connection")
        self._lasts_s += seconds
        if self._lasts_s > LONGEST_S:
            raise StoreUnavailable("redis", f"no sign of life for {LONGEST_S:g} s", "connection")
        ask = self._lasts_s > ASK_AFTER_S and not self._asked
        self._asked = self._asked or ask
        return ask

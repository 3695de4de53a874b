"""Whether a lane moves, as its probes are told.

A model may take longer over a pass than `STALL_TIMEOUT_S`. The lane therefore counts as moving while its model works;
otherwise probes would kill the worker, and the entry would end as a dead letter. All other waits have their own limits:
whatever the model does meanwhile, a lane whose pass has ended and cannot be recorded does not count as moving.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shared.service.liveness import Liveness


class Movement:
    """The sign of life of one lane, which is the loop `name`."""

    def __init__(self, liveness: Liveness, name: str, stall_timeout_s: float) -> None:
        self._liveness, self._name = liveness, name
        self._report_every_s = min(1.0, stall_timeout_s / 3)
        self._recording: list[float] = []  # since when passes that have ended are being recorded

    def moved(self) -> None:
        """Report that the lane moves, unless a pass cannot be recorded (an outage is reported by what retries)."""
        if not self._recording or time.monotonic() - min(self._recording) < self._report_every_s:
            self._liveness.moved(self._name)

    def ended(self) -> None:
        """The lane has ended: it is not watched any more."""
        self._liveness.ended(self._name)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Count as moving while the model works, however long it takes."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def report() -> None:
            nonlocal timer
            self.moved()
            timer = loop.call_later(self._report_every_s, report)

        report()
        try:
            yield
        finally:
            timer.cancel()
            self.moved()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note that a pass has ended and is being recorded, which must not take long."""
        began = time.monotonic()
        self._recording.append(began)
        try:
            yield
        finally:
            self._recording.remove(began)

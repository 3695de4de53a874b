"""Redacting texts before they are published, by a function of the operator's own.

It runs in threads beside the event loop, since it may take long; who asks waits for it at most `timeout_s`. A thread
cannot be stopped: one that hangs keeps its place among `MOST_THREADS`, and once all hang, every request is refused
until one comes back. A text that could not be redacted is not accepted.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Literal

from gateway.core.errors import RedactionFailed, Refused
from shared.contract.errors import ConfigurationError
from shared.telemetry.metrics import ERRORS

log = logging.getLogger(__name__)

MOST_THREADS = 16
RETRY_AFTER_S = 5

Stage = Literal["input", "store"]
Redact = Callable[[str], str]


class Redaction:
    """Redacts the texts of orders.

    Attributes:
        stage: `input`: the model sees the redacted text; `store`: it sees the original, and the redacted one is kept.
    """

    def __init__(self, redact: Redact, stage: Stage, timeout_s: float) -> None:
        self.stage = stage
        self._redact = redact
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(MOST_THREADS)

    async def redacted(self, texts: Sequence[str]) -> list[str]:
        """The texts, redacted.

        Raises:
            RedactionFailed: the function has raised, or has returned something else than a text.
            Refused: it takes too long.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._places.acquire()
                return await self._in_a_thread(texts)
        except TimeoutError:
            ERRORS.labels("gateway", "redaction_timeout").inc()
            log.error("redaction takes too long", extra={"timeout_s": self._timeout_s})
            detail = "texts cannot be redacted in time, so nothing is accepted; try again later"
            raise Refused("redaction-unavailable", detail, RETRY_AFTER_S, limit="redaction") from None

    async def _in_a_thread(self, texts: Sequence[str]) -> list[str]:
        """The texts, from a thread of their own: one of a pool would be waited for when the process ends."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[str]] = loop.create_future()

        def end(found: list[str] | RedactionFailed) -> None:
            self._places.release()
            if not done.done():
                done.set_exception(found) if isinstance(found, RedactionFailed) else done.set_result(found)

        def run() -> None:
            found = _redacted(self._redact, texts)
            if not loop.is_closed():
                loop.call_soon_threadsafe(end, found)

        threading.Thread(target=run, name="redaction", daemon=True).start()
        return await done


def load_redaction(name: str | None, stage: Stage, timeout_s: float) -> Redaction | None:
    """The function that is named `module:function`; None for none.

    Raises:
        ConfigurationError: there is no such function.
    """
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever the module does when it is imported
        said = f"{type(error).__name__}: {error}"
        raise ConfigurationError(
            f"REDACTION: {name!r} cannot be loaded ({said}); its module must be on the gateway's PYTHONPATH"
        ) from error
    if not callable(found):
        raise ConfigurationError(f"REDACTION: {name!r} is no function")
    return Redaction(found, stage, timeout_s)


def _redacted(redact: Redact, texts: Sequence[str]) -> list[str] | RedactionFailed:
    """The texts, or why there are none. What the function raises may quote a text, so only its kind is told."""
    redacted = []
    for text in texts:
        try:
            answer = redact(text)
        except (Exception, SystemExit) as error:
            return _failed("redaction_raised", f"it raised {type(error).__name__}")
        if not isinstance(answer, str) or not _is_storable(answer):
            return _failed("redaction_no_text", f"it returned {type(answer).__name__}, not a text that can be kept")
        redacted.append(answer)
    return redacted


def _failed(kind: str, why: str) -> RedactionFailed:
    ERRORS.labels("gateway", kind).inc()
    log.error("redaction failed", extra={"why": why})
    return RedactionFailed()


def _is_storable(text: str) -> bool:
    """Whether a text can be made into JSON that Postgres stores: without NUL and lone surrogates."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False

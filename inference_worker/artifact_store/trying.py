"""Artifacts of buckets for who tries a model without a stack: fetched as workers fetch them, and told how far it is."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from inference_worker.artifact_store.cache import MB
from inference_worker.artifact_store.store import ArtifactStore
from inference_worker.settings import WorkerSettings
from shared.contract.buckets import BUCKET_PREFIX, parse_address
from shared.service.settings import load_settings

TELL_EVERY_S = 2.0


async def fetch(artifact: str, task: str, end: asyncio.Event, held: ExitStack) -> str:
    """Where an artifact is: if it is in a bucket, in a directory that nobody removes as long as `held` is open.

    The settings are those of the environment: AWS_…, ARTIFACT_CACHE, ARTIFACT_CACHE_MB and LOAD_TIMEOUT_S.

    Args:
        task: that it is for: a class of one's own may read any file of it.
        end: ends fetching; what has been fetched is kept for the next time.

    Raises:
        ConfigurationError: it cannot be had; the message says why, and what to do.
    """
    if not artifact.startswith(BUCKET_PREFIX):
        return artifact
    settings = load_settings(WorkerSettings, _env_file=None)
    told = Telling(parse_address(artifact).folder, lambda line: print(line, file=sys.stderr, flush=True))
    store = ArtifactStore(settings, told)
    return str(await store.hold(artifact, end, held, all_files=":" in task))


def fetch_at_once(artifact: str, task: str, held: ExitStack) -> str:
    """As `fetch`, for what is no coroutine; it may be called by one."""
    work = fetch(artifact, task, asyncio.Event(), held)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(asyncio.run, work).result()


class Telling:
    """Says how much of an artifact is there: at first, every two seconds, and at the end."""

    def __init__(self, folder: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._say, self._clock = folder, say, clock
        self._next = clock()

    def __call__(self, there: int, size: int) -> None:
        """So many bytes are there now."""
        if there < size and self._clock() < self._next:
            return
        self._next = self._clock() + TELL_EVERY_S
        self._say(f"fetching {self._folder}: {there / MB:,.1f} of {size / MB:,.1f} MB")

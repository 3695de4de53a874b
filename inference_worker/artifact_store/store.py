"""Having an artifact of a bucket at hand: from the folder of this machine, or fetched into it first.

    async with store.at_hand("s3://models/sentiment@sha256:…", end) as directory: …

What is in the folder is compared with its digests whenever it is loaded, and fetched again if it has changed. What was
fetched before a connection broke, or before a worker was killed, is kept, and the next try goes on from there.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from inference_worker.artifact_store.cache import ALONE, MB, SHARED, Cache, Entry
from inference_worker.artifact_store.manifest import MOST_BYTES, needed, parse_manifest
from inference_worker.settings import WorkerSettings
from shared.contract.buckets import MANIFEST, BucketAddress, parse_address
from shared.contract.errors import ConfigurationError
from shared.service.lifecycle import cancel_until_ended

if TYPE_CHECKING:
    from inference_worker.artifact_store.bucket import Bucket

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # bytes that are there, of how many


class ArtifactStore:
    """The artifacts of buckets, for one worker."""

    def __init__(self, settings: WorkerSettings, progress: Progress = lambda there, size: None) -> None:
        self._settings, self._progress = settings, progress
        self._cache = Cache(settings.artifact_cache, settings.artifact_cache_mb * MB)

    @asynccontextmanager
    async def at_hand(self, artifact: str, end: asyncio.Event, *, all_files: bool = False) -> AsyncIterator[Path]:
        """Its directory, which nobody removes until the block is left. As `hold`."""
        with ExitStack() as held:
            yield await self.hold(artifact, end, held, all_files=all_files)

    async def hold(self, artifact: str, end: asyncio.Event, held: ExitStack, *, all_files: bool = False) -> Path:
        """Its directory, which nobody removes as long as `held` is open; it may not be there if `end` has been set.

        Args:
            artifact: `s3://bucket/path@sha256:…`.
            all_files: whether not only those are wanted that are read of a model directory.

        Raises:
            ConfigurationError: it cannot be had; the message says why, and what to do.
        """
        address = parse_address(artifact)
        with self._words(address):
            entry = self._cache.entry(address.digest + ("-all" if all_files else ""))
            async with asyncio.timeout(self._settings.load_timeout_s):
                await _until(end, self._hold(address, entry, all_files, held))
        return entry.directory

    @contextmanager
    def _words(self, address: BucketAddress) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            limit = f"{self._settings.load_timeout_s:g} s (LOAD_TIMEOUT_S)"
            raise ConfigurationError(
                f"cannot fetch {address.folder}: it was not there after {limit}, or another worker is at it; the "
                "next try goes on from there"
            ) from None
        except ConfigurationError as error:
            raise ConfigurationError(f"cannot fetch {address.folder}: {error}") from None
        except OSError as error:
            place = f"{self._settings.artifact_cache} (ARTIFACT_CACHE)"
            raise ConfigurationError(f"cannot keep {address.folder} in {place}: {error.strerror or error}") from None

    async def _hold(self, address: BucketAddress, entry: Entry, all_files: bool, held: ExitStack) -> None:
        """Hold an entry that is whole, as long as `held` is open."""
        fetched = False
        while True:
            with ExitStack() as holding:
                holding.callback(os.close, await entry.lock(SHARED))
                if fetched or await asyncio.to_thread(_is_whole, entry.directory, address, all_files):
                    entry.note_use()
                    held.push(holding.pop_all())
                    return
            with ExitStack() as holding:
                holding.callback(os.close, await entry.lock(ALONE))
                if not await asyncio.to_thread(_is_whole, entry.directory, address, all_files):
                    await self._fetch(address, entry, all_files)
                fetched = True

    async def _fetch(self, address: BucketAddress, entry: Entry, all_files: bool) -> None:
        """Fetch an entry, which is held alone."""
        started = time.monotonic()
        bucket = await asyncio.to_thread(_open_bucket, address.bucket, self._settings)
        listed = await bucket.read(f"{address.path}/{MANIFEST}", MOST_BYTES)
        files = needed(_checked(listed, address), all_of_them=all_files)
        sizes = await bucket.sizes({name: f"{address.path}/{name}" for name in files})
        await asyncio.to_thread(_start_over, entry)
        whole = sum(sizes.values())
        await asyncio.to_thread(self._cache.make_room, entry, whole)
        before = 0
        for name, digest in files.items():
            tell = _plus(before, whole, self._progress)
            await _fetch_file(bucket, f"{address.path}/{name}", sizes[name], entry.part / name, digest, tell)
            before += sizes[name]
        (entry.part / MANIFEST).write_bytes(listed)
        entry.part.rename(entry.directory)
        facts = {"artifact": address.folder, "bytes": whole, "files": len(files)}
        log.info("artifact fetched", extra={**facts, "seconds": round(time.monotonic() - started, 2)})


def _open_bucket(name: str, settings: WorkerSettings) -> Bucket:
    try:
        from inference_worker.artifact_store.bucket import Bucket
    except ImportError as error:
        raise ConfigurationError(
            f"artifacts of buckets need the extra `object-store`, which is not installed ({error}); install it: "
            "pip install 'millstream[object-store]'"
        ) from None
    return Bucket(name, settings)


async def _until(end: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Do it, or as much of it as is done when `end` is set."""
    tasks = [asyncio.create_task(work, name="fetch"), asyncio.create_task(end.wait(), name="stop")]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
    finally:
        await cancel_until_ended(tasks)


def _plus(before: int, whole: int, progress: Progress) -> Callable[[int], None]:
    """Tells how much is there of all files, by what is there of one."""
    return lambda there: progress(before + there, whole)


async def _fetch_file(
    bucket: Bucket, key: str, size: int, path: Path, digest: str, tell: Callable[[int], None]
) -> None:
    """Fetch what is not there yet of a file; all of it, if what is there is of another one.

    Raises:
        ConfigurationError: it cannot be read, or is another one than it should be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    actual, there = "", 1
    while actual != digest and there:
        there = await _fetch_rest(bucket, key, size, path, tell)
        actual = await asyncio.to_thread(_sha256, path)
        if actual != digest:
            path.unlink()
    if actual != digest:
        raise ConfigurationError(
            f"{key} is another file than {MANIFEST} says: its SHA-256 is {actual}, not {digest}; upload it again"
        )


async def _fetch_rest(bucket: Bucket, key: str, size: int, path: Path, tell: Callable[[int], None]) -> int:
    """Returns how many bytes were there already."""
    if path.exists() and path.stat().st_size > size:
        path.unlink()
    with path.open("ab") as file:
        there = file.tell()
        tell(there)
        async for block in bucket.blocks(key, there, size):
            await asyncio.to_thread(file.write, block)
            tell(file.tell())
    return there


def _start_over(entry: Entry) -> None:
    """What is there and not whole becomes what is fetched already."""
    if entry.directory.is_dir() and not entry.part.exists():
        entry.directory.rename(entry.part)
    entry.part.mkdir(exist_ok=True)


def _checked(listed: bytes, address: BucketAddress) -> Mapping[str, str]:
    """The files of a manifest, if it is the one of the address."""
    actual = hashlib.sha256(listed).hexdigest()
    if actual != address.digest:
        raise ConfigurationError(
            f"its {MANIFEST} is another one than the address says: its SHA-256 is {actual}; take that into the address "
            "of a new version, or upload the former again"
        )
    return parse_manifest(listed)


def _is_whole(directory: Path, address: BucketAddress, all_files: bool) -> bool:
    """Whether all files are there, and what they should be; reads them all."""
    try:
        files = needed(_checked((directory / MANIFEST).read_bytes(), address), all_of_them=all_files)
        return all(_sha256(directory / name) == digest for name, digest in files.items())
    except (FileNotFoundError, ConfigurationError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""The folder that artifacts of buckets are kept in. Workers of one machine, or of one volume, may share it.

An entry has a folder with its files, once they are all there and right; a folder `….part` before that; and a file
`….lock`, which says how many bytes the entry takes and when it was used last. Who serves an entry holds that file's
lock together with others, who fetches or removes it holds it alone: the system lets go of the locks of a process that
is killed. Only names that are digests are ever looked at or removed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from shared.contract.errors import ConfigurationError

SHARED, ALONE = fcntl.LOCK_SH, fcntl.LOCK_EX
LOCK_EVERY_S = 0.2
STAYS_FREE = 256 * 1024 * 1024  # bytes of the disk that are left to others
MB = 1_000_000
_NAME = re.compile(r"[0-9a-f]{64}(?:-all)?")


class Entry:
    """Where one artifact is, or will be.

    Attributes:
        directory: its files, if it exists.
        part: what has been fetched of them before.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.directory, self.part, self._lock = root / name, root / f"{name}.part", root / f"{name}.lock"

    async def lock(self, kind: int) -> int:
        """Wait until this process may use it, or has it alone; returns what has to be closed to let go of it."""
        while (descriptor := self.try_lock(kind)) is None:
            await asyncio.sleep(LOCK_EVERY_S)
        return descriptor

    def try_lock(self, kind: int) -> int | None:
        """As `lock`, if that is possible at once.

        Raises:
            OSError: the folder cannot be written.
        """
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == self._lock.stat().st_ino:  # otherwise it was removed meanwhile
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def note_use(self) -> None:
        """It is used now: others go first."""
        os.utime(self._lock)

    def reserve(self, size: int) -> None:
        """Say how many bytes it takes; it has to be held alone."""
        self._lock.write_text(str(size), encoding="ascii")

    def size(self) -> int:
        """Bytes that it takes, or will."""
        with suppress(OSError, ValueError):
            return int(self._lock.read_text(encoding="ascii"))
        return self.bytes_there()

    def bytes_there(self) -> int:
        """Bytes of its files so far."""
        files = (each for folder in (self.directory, self.part) for each in folder.rglob("*") if each.is_file())
        return sum(each.stat().st_size for each in files)

    def last_used(self) -> float:
        """When it was used last, in seconds since 1970; 0 if nobody knows."""
        with suppress(OSError):
            return self._lock.stat().st_mtime
        return 0.0

    def remove(self) -> bool:
        """Remove it if nobody uses it; returns whether it is gone."""
        descriptor = self.try_lock(ALONE)
        if descriptor is None:
            return False
        try:
            shutil.rmtree(self.directory, ignore_errors=True)
            shutil.rmtree(self.part, ignore_errors=True)
            self._lock.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
        return True


class Cache:
    """The folder, which is made when it is first needed."""

    def __init__(self, root: Path, most_bytes: int) -> None:
        self._root, self._most_bytes = root, most_bytes

    def entry(self, name: str) -> Entry:
        """The entry of that name, there or not.

        Raises:
            OSError: the folder cannot be made.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        return Entry(self._root, name)

    def make_room(self, own: Entry, size: int) -> None:
        """Reserve bytes for an entry, which is held alone; those that were not used for longest go for it.

        Raises:
            ConfigurationError: there is no room, even without all that nobody uses.
            OSError: the folder cannot be read or written.
        """
        gate = os.open(self._root / "room.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)  # for as long as others remove folders
            others = sorted(self._others(own), key=Entry.last_used)
            sizes = {each.name: each.size() for each in others}
            for each in others:
                if self._why_not(size, own, sum(sizes.values())) is None:
                    break
                if each.remove():
                    del sizes[each.name]
            why_not = self._why_not(size, own, sum(sizes.values()))
            if why_not is not None:
                raise ConfigurationError(why_not)
            own.reserve(size)
        finally:
            os.close(gate)

    def _others(self, own: Entry) -> Iterator[Entry]:
        names = {each.name.partition(".")[0] for each in self._root.iterdir()}
        return (Entry(self._root, name) for name in names - {own.name} if _NAME.fullmatch(name))

    def _why_not(self, size: int, own: Entry, others: int) -> str | None:
        """Why so many bytes do not fit beside the others'."""
        if size + others > self._most_bytes:
            return (
                f"it takes {size / MB:,.0f} MB, and {others / MB:,.0f} MB of others in {self._root} are in use: "
                f"ARTIFACT_CACHE_MB allows {self._most_bytes / MB:,.0f} MB"
            )
        missing = size - own.bytes_there()
        free = shutil.disk_usage(self._root).free - STAYS_FREE
        if missing > free:
            return (
                f"{missing / MB:,.0f} MB are to be fetched, and the disk of {self._root} (ARTIFACT_CACHE) has "
                f"{max(free, 0) / MB:,.0f} MB for them"
            )
        return None

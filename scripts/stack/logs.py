"""The log files of the stack, one a service: their ends, and all of them followed at once under their names."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.stack.reports import say
from scripts.stack.supervisord import UMASK

LINE_GUESS = 2000  # more bytes than nearly any line has
POLL_S = 0.2
FILE_MODE, FOLDER_MODE = 0o666 & ~UMASK, 0o777 & ~UMASK


def named(name: str, line: str) -> str:
    """A line under the name of the service that wrote it."""
    return f"{name:<20} | {line}"


def begin_anew(folder: Path) -> None:
    """Make the folder, and put the logs of an earlier start aside: a log tells of one start.

    Logs are nobody's but the user's and their group's, also those that an earlier version wrote for all to read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(FOLDER_MODE)
    for path in folder.glob("*.log"):
        path.replace(path.with_name(f"{path.name}.1"))
    for path in folder.glob("*.log.1"):
        path.chmod(FILE_MODE)


def private(path: str, flags: int) -> int:
    """An opener, as `open` takes it, of a file that is not for all to read."""
    return os.open(path, flags, FILE_MODE)


def last_lines(path: Path, count: int) -> list[str]:
    """The end of a log file; nothing if there is no file."""
    if not path.exists():
        return []
    follower = Follower(path, count * LINE_GUESS)
    try:
        return list(deque(follower.lines(rest=True), maxlen=count))
    finally:
        follower.close()


class Follower:
    """Reads what is added to a log file, whole lines at a time, also after the file was put aside and begun anew.

    Args:
        tail: how many bytes before the present end to begin at; from the beginning by default.
    """

    def __init__(self, path: Path, tail: int | None = None) -> None:
        self.name = path.stem
        self._path = path
        self._file = path.open("rb")
        self._file.seek(0 if tail is None else max(0, path.stat().st_size - tail))
        self._rest = b""

    def lines(self, rest: bool = False) -> Iterator[str]:
        """The lines that are new; with `rest`, an unfinished one at the end too."""
        begun_anew = self._path.exists() and self._path.stat().st_size < self._file.tell()
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        yield from map(_shown, [*lines, self._rest] if rest and self._rest else lines)
        if begun_anew:
            self.close()
            self._file = self._path.open("rb")

    def close(self) -> None:
        self._file.close()


def follow(files: Sequence[Path], lines: int) -> None:
    """Print the end of every log and what is added to it, until interrupted."""
    followers = [Follower(path, lines * LINE_GUESS) for path in files]
    for follower in followers:
        for line in deque(follower.lines(), maxlen=lines):
            say(named(follower.name, line))
    while not threading.Event().wait(POLL_S):
        for follower in followers:
            for line in follower.lines():
                say(named(follower.name, line))


def _shown(line: bytes) -> str:
    """A line as a terminal would show it: of a progress bar, what it shows in the end."""
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", errors="replace")

"""Writing to stderr without ever waiting for whoever reads it.

Nobody may be reading the pipe that stderr is, or the disk behind it may be full: a process that writes there directly
then stops in the middle of its work. So `sys.stderr` only collects, and a thread writes. Logs, `print`, warnings and
tracebacks all take this way. What does not fit, or cannot be written, is dropped and counted.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

MOST_WAITING_BYTES = 2_000_000
EXIT_WAITS_S = 1.0
_COLLECT_S = 0.02  # what is written within this time goes in one call: each wakes the thread, which takes the GIL
_RELAY_EVERY_S = 0.005  # for each 64 KB: a child that prints without end slows itself, not us
_STDOUT, _STDERR = 1, 2


class QueuedStderr(io.TextIOBase):
    """A text stream whose writes return at once.

    Args:
        descriptor: what the thread writes to.
        on_drop: called with how many lines were dropped.
    """

    def __init__(self, descriptor: int, on_drop: Callable[[int], object]) -> None:
        self._descriptor = descriptor
        self._on_drop = on_drop
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0  # that wait or are being written
        self._dropped = 0  # lines, since this was told the last time
        threading.Thread(target=self._run, name="stderr", daemon=True).start()

    def write(self, text: str) -> int:
        """Queue a text, or drop it if too much waits already."""
        data = text.encode("utf-8", "backslashreplace")
        with self._changed:
            if self._bytes + len(data) > MOST_WAITING_BYTES:
                self._drop(data)
            else:
                self._waiting.append(data)
                self._bytes += len(data)
                self._changed.notify_all()
        return len(text)

    def writable(self) -> bool:
        """As text streams say it."""
        return True

    def fileno(self) -> int:
        """The descriptor that the thread writes to."""
        return self._descriptor

    def wait_written(self, timeout_s: float) -> bool:
        """Wait until all is written or told as dropped, for at most `timeout_s` seconds; returns whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._bytes == self._dropped == 0, timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data = b"".join(self._waiting)
                self._waiting.clear()
            unwritten = _write(self._descriptor, data)
            with self._changed:
                self._bytes -= len(data)
                if unwritten:
                    self._drop(unwritten)
                dropped = 0 if unwritten else self._dropped
            if dropped:
                log.warning("log lines dropped", extra={"lines": dropped})
            with self._changed:
                self._dropped -= dropped
                self._changed.notify_all()
            time.sleep(_COLLECT_S)

    def _drop(self, data: bytes) -> None:
        lines = data.count(b"\n")
        self._dropped += lines
        self._on_drop(lines)


def _write(descriptor: int, data: bytes) -> bytes:
    """Write all of it, however long that takes; returns what could not be written."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # somebody who shares the descriptor has made it non-blocking
            select.select([], [descriptor], [])
        except OSError:
            return data
    return b""


def queue_stderr(on_drop: Callable[[int], object], of_children: bool = False) -> None:
    """Have all that this process writes to stderr written by a thread; call it first of all.

    As the process ends, what is left is waited for, for at most `EXIT_WAITS_S`.

    Args:
        on_drop: called with how many lines were dropped.
        of_children: the same for what child processes print: they inherit a pipe to this process.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: a connection would be given this number, and with it what is printed
            os.open(os.devnull, os.O_RDWR)
    stderr = sys.stderr = QueuedStderr(os.dup(_STDERR) if of_children else _STDERR, on_drop)
    atexit.register(stderr.wait_written, EXIT_WAITS_S)
    if of_children:
        _relay_to(stderr)


def _relay_to(stderr: QueuedStderr) -> None:
    reading, writing = os.pipe()
    for descriptor in (_STDOUT, _STDERR):
        os.dup2(writing, descriptor)
    os.close(writing)

    def relay() -> None:
        while data := os.read(reading, 65_536):
            stderr.write(data.decode("utf-8", "replace"))
            time.sleep(_RELAY_EVERY_S)

    threading.Thread(target=relay, name="output of children", daemon=True).start()

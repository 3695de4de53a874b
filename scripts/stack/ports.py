"""TCP ports on the loopback interface: a free one, whether one is taken, and by whom."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

LOOPBACK = "127.0.0.1"
LISTENING = "0A"  # of /proc/net/tcp
_NOT_EPHEMERAL = (12_000, 32_000)
_chance = random.SystemRandom()


def free_port() -> int:
    """A port that was free a moment ago, and that no system gives to a connection of its own (those are above)."""
    while is_taken(port := _chance.randrange(*_NOT_EPHEMERAL)):
        pass
    return port


def is_taken(port: int, host: str = LOOPBACK) -> bool:
    """Whether binding to the port would fail because somebody listens there.

    SO_REUSEADDR, as the servers set it too: a connection in TIME_WAIT does not count as taken.

    Raises:
        OSError: binding fails for another reason, such as a privileged port.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False


def answers(port: int, host: str = LOOPBACK, timeout_s: float = 1.0) -> bool:
    """Whether something accepts connections on the port."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def holder(port: int) -> int | None:
    """The process that listens on a port; None if it is not this user's to see, or this is not Linux."""
    wanted = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for folder in sorted(Path("/proc").glob("[0-9]*/fd"), key=lambda each: int(each.parent.name)):
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            if any(os.readlink(each) in wanted for each in folder.iterdir()):
                return int(folder.parent.name)
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]

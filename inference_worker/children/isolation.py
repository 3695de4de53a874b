"""What a child gives up as it starts: its parent's process group, outliving its parent, growing without end."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys
from pathlib import Path

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # prctl(2)
_MOST_FILE_BYTES = 1 << 30


def separate() -> None:
    """Lead a process group of one's own, which can be killed whole, and die with the process that forked us."""
    os.setpgid(0, 0)
    parent = os.getppid()
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it had died before
            os._exit(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def give_back_memory() -> None:
    """Return what loading needed and freed to the system (glibc keeps it otherwise, see `forkserver`)."""
    gc.collect()
    trim = getattr(_LIBC, "malloc_trim", None)
    if trim is not None:  # another C library has none
        trim(0)


def limit_growth(memory_bytes: int) -> None:
    """Bound what the model may allocate and write from now on; call it once everything is loaded.

    Args:
        memory_bytes: address space that may be added to what is in use now; beyond it an allocation fails, which ends
            the item, not the machine.
    """
    size = _address_space()
    if size is not None:
        _lower(resource.RLIMIT_AS, size + memory_bytes)
    _lower(resource.RLIMIT_FSIZE, _MOST_FILE_BYTES)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(kind: int, limit: int) -> None:
    _, hard = resource.getrlimit(kind)
    lowest = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (lowest, lowest))


def _address_space() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:  # not Linux: the limit on address space means little there
        return None
    return pages * resource.getpagesize()

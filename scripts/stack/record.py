"""What `up` writes down about the stack it starts, for the commands after it: names, ports, and whether all came up."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RECORD_FILE = "stack.json"
COMMAND_LOCK = "command.lock"


@dataclass(frozen=True)
class Entry:
    """One line of `make status`.

    Attributes:
        kind: service or task.
        optional: the stack is ready without it.
    """

    name: str
    kind: str = "service"
    port: int | None = None
    optional: bool = False


@dataclass(frozen=True)
class Record:
    """A stack as it was started.

    Attributes:
        ports: port numbers by setting name.
        complete: everything has been ready; a record without it is of an `up` that still works, or was cut off.
    """

    ports: dict[str, int]
    entries: tuple[Entry, ...]
    complete: bool = False


def write_record(run: Path, record: Record) -> None:
    """Replace the record in one step, so that no reader sees half of it."""
    target = run / RECORD_FILE
    scratch = target.with_suffix(".new")
    scratch.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    scratch.replace(target)


def read_record(run: Path) -> Record | None:
    """The last record; None if there is none, or one of another form."""
    try:
        data: dict[str, Any] = json.loads((run / RECORD_FILE).read_text(encoding="utf-8"))
        entries = tuple(Entry(**each) for each in data.pop("entries"))
        return Record(**data, entries=entries)
    except (OSError, ValueError, TypeError, KeyError):
        return None


@contextlib.contextmanager
def command_lock(run: Path, must_wait: Callable[[], None]) -> Iterator[None]:
    """One `up` at a time: the second waits for the first, and says so by `must_wait`."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / COMMAND_LOCK).open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            must_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield

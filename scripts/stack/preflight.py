"""What is checked before anything is installed or started, each with a message that says what to do.

Run as `python -m scripts.stack.preflight` by the Makefile before an installation; at that point only the standard
library is there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.stack import config as stack_config
from scripts.stack.config import StackConfig
from scripts.stack.errors import StackError
from scripts.stack.ports import free_port, holder, is_taken
from scripts.stack.strays import described, marked
from scripts.stack.supervisord import is_running

LEAST_PYTHON = (3, 11)
INSTALL_BYTES = 3 * 10**9
START_BYTES = 300 * 10**6


def check_python(version: tuple[int, int], has_venv: bool) -> None:
    """Check the interpreter.

    Raises:
        StackError: it is too old, or cannot make virtual environments.
    """
    if version < LEAST_PYTHON:
        raise StackError(
            f"Python {version[0]}.{version[1]} is too old: Millstream needs 3.11 or later. "
            "Install one and name it: make PYTHON=python3.11 up"
        )
    if not has_venv:
        raise StackError(
            "this Python can't make virtual environments: install its venv package (Debian: apt install python3-venv)"
        )


def check_disk(free_bytes: int, installed: bool, folder: Path) -> None:
    """Check the room on the disk.

    Raises:
        StackError: less is free than installing (or, once installed, running) needs.
    """
    needed = START_BYTES if installed else INSTALL_BYTES
    if free_bytes < needed:
        purpose = "to run" if installed else "to install PyTorch, the other packages and the models"
        raise StackError(
            f"only {free_bytes / 1e9:.1f} GB are free in {folder}, {needed / 1e9:.1f} GB are needed {purpose}: "
            "make room first"
        )


def check_home(home: Path) -> None:
    """Check the folder that data and logs go into.

    Raises:
        StackError: it is no folder, or cannot be made or written into.
    """
    there = _existing(home)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "cannot be written into" if there.is_dir() else "is not a folder"
        raise StackError(f"{there} {what}, but data and logs are to go into {home}: name another, MILLSTREAM_HOME=…")


def check_ports(ports: Mapping[str, int]) -> None:
    """Check that every port can be listened on.

    Raises:
        StackError: some can't; the message names each, who has it if that can be seen, and ports that are free.
    """
    problems = {name: problem for name, port in ports.items() if (problem := port_problem(name, port))}
    if problems:
        others = " ".join(f"{name}={_free_port_like(ports[name])}" for name in problems)
        remedy = f"stop what listens there, or choose others: make up {others} (or write that into .env)"
        raise StackError("\n".join([*problems.values(), remedy]))


def port_problem(name: str, port: int) -> str | None:
    """Why a port can't be used; None if it can."""
    try:
        if not is_taken(port):
            return None
    except PermissionError:
        return f"port {port} ({name}) is reserved for root"
    pid = holder(port)
    return f"port {port} ({name}) is already taken" + (f" by {described(pid)}" if pid else "")


def _free_port_like(port: int) -> int:
    """A free port that is easy to remember, if there is one."""
    likely = (port + step for step in range(10_000, 60_000, 10_000) if port + step < 65_536)
    return next((each for each in likely if not is_taken(each)), None) or free_port()


def check_install(config: StackConfig) -> None:
    """What an installation needs.

    Raises:
        StackError: the first check that fails.
    """
    installed = (config.root / ".venv" / "bin" / "python").exists()
    has_venv = all(importlib.util.find_spec(name) is not None for name in ("venv", "ensurepip"))
    check_python((sys.version_info.major, sys.version_info.minor), installed or has_venv)
    check_home(config.home)
    for folder, needs_little in ((config.root, installed), (_existing(config.home), True)):
        check_disk(shutil.disk_usage(folder).free, needs_little, folder)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there already."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def check_start(config: StackConfig) -> None:
    """What a start needs; a stack that runs holds its own ports, as does what one left behind, which `up` ends first.

    Raises:
        StackError: the first check that fails.
    """
    if not is_running(config.run) and not marked(config.home):
        check_ports(config.listening())


def main() -> int:
    """Check before an installation, and with the argument `start` whether a start could follow it."""
    try:
        config = stack_config.load(os.environ)
        check_install(config)
        if sys.argv[1:] == ["start"]:
            check_start(config)
    except StackError as error:
        print(f"millstream: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
